// Paired differences of two entries on the same episodes, as leaderboard/compare.py defines them: the same
// numbers, but for the noise of the draws behind an interval.

const DRAWS = 10000;

// A small generator with a seed: the same page shows the same interval every time (mulberry32).
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

// Marsaglia and Tsang (2000); shapes below 1 by their boosting formula.
function gamma(shape, random) {
  if (shape < 1) return gamma(shape + 1, random) * (1 - random()) ** (1 / shape);
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal(random);
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - random()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// The 95% interval of a weighted mean of paired differences, B minus A: a Bayesian bootstrap of each row's episodes, with
// half a pair of each of the four kinds shared by all rows; and, of a side with several trainings, what these vary beyond
// what the episodes explain. Rows are {a, b}: for each training the success, episode by episode; weights sum to 1.
function differenceInterval(rows, weights) {
  const random = randomFrom(1);
  const draws = new Float64Array(DRAWS);
  rows.forEach(({ a, b }, place) =>
    addEpisodes(draws, countDifferences(a, b, 0.5 / rows.length), weights[place], random),
  );
  for (const side of ["a", "b"])
    addTrainings(
      draws,
      rows.map((row) => row[side]),
      weights,
      random,
    );
  draws.sort();
  return [Math.max(-1, quantile(draws, 0.025)), Math.min(1, quantile(draws, 0.975))];
}

// How often each difference occurs, as [difference, count].
function countDifferences(a, b, share) {
  const counts = new Map([
    [-1, share],
    [0, 2 * share],
    [1, share],
  ]);
  for (let episode = 0; episode < a[0].length; episode += 1) {
    const difference = meanOf(b.map((seed) => seed[episode])) - meanOf(a.map((seed) => seed[episode]));
    const key = Math.round(1e9 * difference) / 1e9;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts];
}

function addEpisodes(draws, counts, weight, random) {
  for (let draw = 0; draw < draws.length; draw += 1) {
    let [sum, total] = [0, 0];
    for (const [difference, count] of counts) {
      const drawn = gamma(count, random);
      sum += difference * drawn;
      total += drawn;
    }
    draws[draw] += (weight * sum) / total;
  }
}

// Adds Student's t with the trainings' degrees of freedom; how a lone one varies is unknown and not in it.
function addTrainings(draws, rows, weights, random) {
  const count = rows[0].length;
  if (count < 2) return;
  const bySeed = rows[0].map((_, seed) =>
    rows.reduce((sum, row, place) => sum + weights[place] * meanOf(row[seed]), 0),
  );
  const centre = meanOf(bySeed);
  const spread = bySeed.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (count - 1) / count;
  const residual = rows.reduce((sum, row, place) => sum + weights[place] ** 2 * residualVariance(row), 0);
  const scale = Math.sqrt(Math.max(0, spread - residual));
  for (let draw = 0; draw < draws.length; draw += 1) {
    draws[draw] += (scale * normal(random)) / Math.sqrt(gamma((count - 1) / 2, random) / ((count - 1) / 2));
  }
}

// The residual mean square of trainings by episodes over the number of cells; 0 for a single episode.
function residualVariance(table) {
  const [seeds, episodes] = [table.length, table[0].length];
  if (episodes === 1) return 0;
  const bySeed = table.map(meanOf);
  const centre = meanOf(bySeed);
  let squares = 0;
  for (let episode = 0; episode < episodes; episode += 1) {
    const own = meanOf(table.map((seed) => seed[episode]));
    table.forEach((seed, place) => {
      squares += (seed[episode] - own - bySeed[place] + centre) ** 2;
    });
  }
  return squares / ((seeds - 1) * (episodes - 1)) / (seeds * episodes);
}

// The two-sided p-value of a sum of whole-numbered differences under all flips of their signs; for differences of -1, 0
// and 1 it is McNemar's exact test.
function flipTest(differences) {
  const steps = differences.map(Math.abs).filter((step) => step > 0);
  const observed = Math.abs(differences.reduce((sum, value) => sum + value, 0));
  if (observed === 0) return 1;
  const largest = steps.reduce((sum, step) => sum + step, 0);
  let chances = new Float64Array(2 * largest + 1);
  chances[largest] = 1;
  let reach = 0;
  for (const step of steps) {
    const next = new Float64Array(2 * largest + 1);
    for (let sum = largest - reach; sum <= largest + reach; sum += 1) {
      next[sum - step] += chances[sum] / 2;
      next[sum + step] += chances[sum] / 2;
    }
    chances = next;
    reach += step;
  }
  let tail = 0;
  for (let sum = largest + observed; sum <= 2 * largest; sum += 1) tail += chances[sum];
  return Math.min(1, 2 * tail);
}

// Holm's adjustment; those that are null stay so and are not part of the family.
function holm(values) {
  const known = values
    .map((p, place) => [p, place])
    .filter(([p]) => p !== null)
    .sort((a, b) => a[0] - b[0]);
  const adjusted = values.map(() => null);
  let largest = 0;
  known.forEach(([p, place], rank) => {
    largest = Math.max(largest, Math.min(1, (known.length - rank) * p));
    adjusted[place] = largest;
  });
  return adjusted;
}

// Success of each training, episode by episode: the mean of its seeds, which are the same policy and so vary only as
// episodes do.
function averageSeeds(outcomes, trainings) {
  return [...new Set(trainings)].map((training) => {
    const own = outcomes.filter((_, seed) => trainings[seed] === training);
    return own[0].map((_, episode) => meanOf(own.map((seed) => seed[episode])));
  });
}

// Compares two entries on one row: the episodes that ended without an error under all seeds of both. Null without any.
function pairRow(a, b, row) {
  const found = [outcomesOf(a, row), outcomesOf(b, row)];
  const sides = found.map((seeds) =>
    seeds.map(({ indices, successes }) => new Map(indices.map((index, place) => [index, successes[place]]))),
  );
  if (!sides.every((seeds) => seeds.length)) return null;
  const shared = [...sides[0][0].keys()].filter((index) => sides.flat().every((seed) => isKnown(seed.get(index))));
  if (!shared.length) return null;
  const [outcomesA, outcomesB] = sides.map((seeds) => seeds.map((seed) => shared.map((index) => seed.get(index))));
  const [policiesA, policiesB] = [outcomesA, outcomesB].map((outcomes, side) =>
    averageSeeds(
      outcomes,
      found[side].map(({ training }) => training),
    ),
  );
  const sum = (seeds, episode) => seeds.reduce((total, seed) => total + seed[episode], 0);
  // In whole numbers, as the exact test counts.
  const differences = shared.map(
    (_, episode) => sum(outcomesB, episode) * outcomesA.length - sum(outcomesA, episode) * outcomesB.length,
  );
  return {
    a: policiesA,
    b: policiesB,
    pairs: shared.length,
    rateA: meanOf(policiesA.map(meanOf)),
    rateB: meanOf(policiesB.map(meanOf)),
    differences,
    onlyA: differences.filter((difference) => difference < 0).length,
    onlyB: differences.filter((difference) => difference > 0).length,
  };
}

// Compares two entries on all rows that both have episodes of, and on average over axes.
function compareEntries(a, b) {
  const rows = rowColumns
    .map((column) => ({ column, found: pairRow(a, b, column.row) }))
    .filter(({ found }) => found)
    .map(({ column, found }) => ({
      column,
      ...found,
      difference: found.rateB - found.rateA,
      interval: differenceInterval([found], [1]),
      p: flipTest(found.differences),
    }));
  holm(rows.map((row) => row.p)).forEach((p, place) => {
    rows[place].adjusted = p;
  });
  const groups = data.axes.map((name) => averageRows(name, rows)).filter(Boolean);
  return { rows, groups };
}

// The mean over those of an axis' rows that both have, or over the held-out axes' means; null without any.
function averageRows(name, rows) {
  const members = rows.filter(
    ({ column }) =>
      !column.derived && (name === "held-out" ? data.heldOut.includes(column.group) : column.group === name),
  );
  if (!members.length) return null;
  const size = (axis) => members.filter(({ column }) => column.group === axis).length;
  const axes = new Set(members.map(({ column }) => column.group)).size;
  const weights = members.map(({ column }) => 1 / (axes * size(column.group)));
  const mean = (key) => members.reduce((sum, row, place) => sum + weights[place] * row[key], 0);
  return {
    name,
    rows: members.length,
    pairs: members.reduce((sum, row) => sum + row.pairs, 0),
    rateA: mean("rateA"),
    rateB: mean("rateB"),
    difference: mean("difference"),
    interval: members.length === 1 ? members[0].interval : differenceInterval(members, weights),
  };
}
