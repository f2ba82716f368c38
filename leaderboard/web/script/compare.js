// Two entries side by side on the episodes that both have played.

const LEVEL = 0.05;

function showComparison(a, b, rowId) {
  const place = byId("comparison");
  const problem = whyNot(a, b);
  if (problem) {
    drawn.differences?.destroy();
    place.replaceChildren(make("p", { className: "notice", textContent: problem }));
    return;
  }
  byId("compare-a").value = String(entries.indexOf(a));
  byId("compare-b").value = String(entries.indexOf(b));
  if (isPublished(a) || isPublished(b)) {
    place.replaceChildren(
      make("p", {
        className: "notice",
        textContent: "A published number is not of the same episodes: differences have no interval and no test here.",
      }),
      unpairedTable(a, b),
    );
    return;
  }
  const result = compareEntries(a, b);
  if (!result.rows.length) {
    place.replaceChildren(make("p", { className: "notice", textContent: "These two have no episode in common." }));
    return;
  }
  const box = make("div", { className: "canvas" }, make("canvas", { id: "differences", role: "img" }));
  box.style.height = `${70 + 24 * result.rows.length}px`;
  const column = result.rows.find((row) => row.column.id === rowId)?.column;
  place.replaceChildren(
    verdict(a, b, result),
    make("figure", {}, make("figcaption", { textContent: "Difference B − A in points" }), box),
    pairedTable(a, b, result, rowId),
    make("p", {
      className: "quiet",
      textContent:
        "Episodes with an error on either side are left out. With several seeds, an episode's difference is that of its means over them. Intervals: Bayesian bootstrap of the episodes, and how seeds vary. p: exact test of the paired episodes, two-sided, adjusted over all rows (Holm).",
    }),
    column
      ? discordant(a, b, column)
      : make("p", { className: "quiet", textContent: "Choose a row to see the episodes on which they differ." }),
  );
  drawDifferences(a, b, result.rows);
}

function whyNot(a, b) {
  if (!a || !b) return "Choose two entries.";
  return a === b ? "Choose two different entries." : null;
}

function verdict(a, b, { rows, groups }) {
  const found = groups.find(({ name }) => name === "held-out") ?? groups[0];
  const better = rows.filter((row) => row.adjusted <= LEVEL && row.difference > 0).length;
  const worse = rows.filter((row) => row.adjusted <= LEVEL && row.difference < 0).length;
  const mean = found
    ? `B − A is ${signed(found.difference)} points on the ${found.name} mean [${found.interval.map(signed).join(", ")}], over ${found.pairs} paired episodes. `
    : "";
  return make(
    "p",
    { className: "verdict" },
    make("strong", { textContent: `A: ${a.name}. B: ${b.name}. ` }),
    `${mean}Of ${rows.length} rows, B is better on ${better} and worse on ${worse}; on ${rows.length - better - worse} the episodes do not tell them apart.`,
  );
}

function pairedTable(a, b, { rows, groups }, rowId) {
  const head = ["", "A [%]", "B [%]", "B − A", "95% interval", "pairs", "A ahead", "B ahead", "p", ""];
  const line = (found, name, extra, link) =>
    make(
      "tr",
      { className: [extra, found.adjusted <= LEVEL ? (found.difference > 0 ? "gain" : "loss") : ""].join(" ") },
      make("th", { scope: "row", textContent: name }),
      ...[
        percent(found.rateA),
        percent(found.rateB),
        signed(found.difference),
        `[${found.interval.map(signed).join(", ")}]`,
        found.pairs,
        found.onlyA ?? "",
        found.onlyB ?? "",
        found.adjusted === undefined ? "" : writeP(found.adjusted),
      ].map((text) => make("td", { className: "number", textContent: text })),
      make("td", {}, link),
    );
  const path = (id) =>
    `#/compare/${encodeURIComponent(a.name)}/${encodeURIComponent(b.name)}/${encodeURIComponent(id)}`;
  const link = (id) =>
    make("a", { href: path(id), textContent: "episodes", "aria-label": `Episodes of ${id} on which they differ` });
  return scrolling(
    "Paired differences",
    make(
      "table",
      { className: "numbers" },
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))),
      make("tbody", {}, ...groups.map((group) => line(group, `${group.name} (mean of ${group.rows})`, "mean"))),
      make(
        "tbody",
        {},
        ...rows.map((row) => line(row, row.column.id, row.column.id === rowId ? "current" : "", link(row.column.id))),
      ),
    ),
  );
}

const writeP = (p) => (p < 0.001 ? "< 0.001" : rounded(p, 3));

function unpairedTable(a, b) {
  const columns = [...axisColumns, ...plainRows];
  const body = columns.map((column) => {
    const [there, here] = [valueOf(a, column), valueOf(b, column)];
    const difference = there === null || here === null ? null : here - there;
    return make(
      "tr",
      { className: column.axis === undefined ? "" : "mean" },
      make("th", { scope: "row", textContent: column.id }),
      ...[percent(there), percent(here), signed(difference)].map((text) =>
        make("td", { className: "number", textContent: text }),
      ),
    );
  });
  return scrolling(
    "Differences",
    make(
      "table",
      { className: "numbers" },
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          ...["", "A [%]", "B [%]", "B − A"].map((text) => make("th", { scope: "col", textContent: text })),
        ),
      ),
      make("tbody", {}, ...body),
    ),
  );
}

function drawDifferences(a, b, rows) {
  const widest = Math.max(...rows.flatMap((row) => [row.difference, ...row.interval]).map(Math.abs));
  const reach = Math.min(100, 10 * Math.ceil(Math.max(10 * widest, 1.5)));
  draw("differences", `Differences between ${b.name} and ${a.name} by row`, {
    type: "bar",
    data: {
      labels: rows.map(({ column }) => column.name),
      datasets: [
        {
          label: "B − A",
          data: rows.map((row) => 100 * row.difference),
          intervals: rows.map((row) => row.interval),
          backgroundColor: rows.map((row) => colour(row.difference < 0 ? "series-2" : "series-1")),
        },
      ],
    },
    options: {
      indexAxis: "y",
      scales: {
        x: { min: -reach, max: reach, title: "points" },
        y: { grid: { display: false }, ticks: { autoSkip: false } },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          callbacks: {
            label: ({ dataIndex }) =>
              `${signed(rows[dataIndex].difference)} [${rows[dataIndex].interval.map(signed).join(", ")}]`,
          },
        },
      },
    },
  });
}

// Episodes of a row with another outcome on each side, under the same place among the seeds.
function discordant(a, b, column) {
  const [there, here] = [a, b].map((entry) => {
    const bySeed = new Map();
    for (const episode of episodesOf(entry, column.row)) {
      if (!bySeed.has(episode.seed)) bySeed.set(episode.seed, new Map());
      bySeed.get(episode.seed).set(episode.index, episode);
    }
    return [...bySeed.values()];
  });
  const body = [];
  for (let seed = 0; seed < Math.min(there.length, here.length); seed += 1) {
    for (const [index, left] of there[seed]) {
      const right = here[seed].get(index);
      if (!right || left.outcome === right.outcome || [left.outcome, right.outcome].includes("error")) continue;
      body.push(
        make(
          "tr",
          {},
          make("th", { scope: "row", className: "number", textContent: index }),
          make("td", {
            className: "number",
            textContent: left.seed === right.seed ? left.seed : `${left.seed}, ${right.seed}`,
          }),
          outcomeCell(left),
          videoCell(left, `episode ${index} of ${a.name}`),
          outcomeCell(right),
          videoCell(right, `episode ${index} of ${b.name}`),
        ),
      );
    }
  }
  const head = ["index", "seed", "A", "A's video", "B", "B's video"];
  return make(
    "section",
    { id: "differing", "aria-label": `Episodes of ${column.id} on which they differ` },
    make("h3", { textContent: `Episodes of ${column.id} on which they differ (${body.length})` }),
    scrolling(
      "Differing episodes",
      make(
        "table",
        { className: "episodes" },
        make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))),
        make("tbody", {}, ...body),
      ),
    ),
  );
}

function startCompare() {
  const [selectA, selectB] = [byId("compare-a"), byId("compare-b")];
  fillSelect(selectA, entryOptions(), "0");
  fillSelect(selectB, entryOptions(), "1");
  const go = () => {
    const [a, b] = [entries[selectA.value], entries[selectB.value]];
    location.hash = `#/compare/${encodeURIComponent(a.name)}/${encodeURIComponent(b.name)}`;
  };
  selectA.addEventListener("change", go);
  selectB.addEventListener("change", go);
  byId("swap").addEventListener("click", () => {
    [selectA.value, selectB.value] = [selectB.value, selectA.value];
    go();
  });
}
