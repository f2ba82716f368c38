// The data of the page and how its numbers are written. payload.py is the other side of it.

const data = JSON.parse(document.getElementById("data").textContent);
const entries = data.entries;
const DASH = "–";
const ROW = { n: 0, successes: 1, rate: 2, low: 3, high: 4, once: 5, errors: 6 };
const AXIS = { rows: 0, n: 1, rate: 2, low: 3, high: 4, drop: 5, dropLow: 6, dropHigh: 7 };

const isKnown = (value) => value !== null && value !== undefined && Number.isFinite(value);
// As rounding.py does it: a tie goes away from zero, and beyond the third digit after the last shown nothing counts.
const rounded = (value, digits) => {
  const text = (Math.round(Math.round(Math.abs(value) * 10 ** (digits + 3)) / 1000) / 10 ** digits).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
};
const percent = (value) => (isKnown(value) ? rounded(100 * value, 1) : DASH);
const interval = (low, high) => (isKnown(low) && isKnown(high) ? `${percent(low)}–${percent(high)}` : DASH);
const signed = (value) => {
  if (!isKnown(value)) return DASH;
  const text = percent(value);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
};
const shortRow = (id) => (id === "train" ? "training task" : id.slice(id.indexOf("/") + 1));
const DEFINITIONS = { at_end: "at the end", once: "at some step", unknown: "not stated" };
const words = (category) => category.replaceAll("-", " ");
const isPublished = (entry) => entry.kind === "published";
const entryNamed = (name) => entries.find((entry) => entry.name === name);

// What a row or axis says of an entry, as one shape for both; null if it has no line there.
function numbers(entry, column) {
  const [line, key] = column.row !== undefined ? [entry.rows[column.row], ROW] : [entry.axes[column.axis], AXIS];
  if (!line) return null;
  return { n: line[key.n], rate: line[key.rate], low: line[key.low], high: line[key.high], drop: line[key.drop] };
}

const axisColumns = data.axes.map((name, axis) => ({ axis, name, id: name, group: name }));
const rowColumns = data.rows.map(({ id, axis, derived }, row) => ({
  row,
  id,
  derived,
  group: axis,
  name: derived ? id : shortRow(id),
}));
const plainRows = rowColumns.filter((column) => !column.derived);

// What a source states of an entry where the table has no number: counted otherwise, or it does not say how.
function claimOf(entry, column) {
  const means = { "held-out": "axis:mean", "in-distribution": "train" };
  const scope = column.row !== undefined ? column.id : (means[column.id] ?? `axis:${column.id}`);
  return entry.facts.find((fact) => fact.scope === scope && isKnown(fact.value)) ?? null;
}

// The episodes of an entry on a row, seed after seed, taken apart only when somebody looks at them.
function episodesOf(entry, row) {
  const found = [];
  for (const group of entry.episodes[row] ?? []) {
    const list = data.lists[group.list];
    for (let place = 0; place < group.outcomes.length; place += 1) {
      const [outcome, failure, once] = data.codes[group.outcomes[place]];
      found.push({
        index: list.indices[place],
        seed: group.seed,
        outcome,
        failure,
        once,
        steps: outcome === "error" ? null : Array.isArray(group.steps) ? group.steps[place] : group.steps,
        instruction: data.instructions[list.instructions[place]] ?? null,
        video: videoOf(group, list.indices[place], outcome, place),
      });
    }
  }
  return found;
}

function videoOf(group, index, outcome, place) {
  if (group.videos === undefined) return null;
  if (group.video === undefined) return group.videos[place] ?? null;
  if (group.videos !== null && !group.videos.includes(place)) return null;
  return group.video.replace("{index}", index).replace("{outcome}", outcome);
}

// Outcomes of each seed (1, 0, or null for an error), the indices that they belong to, and which training it is of.
function outcomesOf(entry, row) {
  return (entry.episodes[row] ?? []).map((group) => ({
    training: group.training,
    indices: data.lists[group.list].indices,
    successes: Array.from(group.outcomes, (character) => {
      const outcome = data.codes[character][0];
      return outcome === "error" ? null : outcome === "success" ? 1 : 0;
    }),
  }));
}

// Failures by category of an entry's row, and the episodes that ended without an error.
function failuresOf(entry, row) {
  const counts = {};
  let n = 0;
  for (const group of entry.episodes[row] ?? []) {
    for (const character of group.outcomes) {
      const [outcome, failure] = data.codes[character];
      if (outcome === "error") continue;
      n += 1;
      if (outcome === "failure") counts[failure] = (counts[failure] ?? 0) + 1;
    }
  }
  return { counts, n };
}
