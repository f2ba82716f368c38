// One entry: where it comes from, its rows, how its failures went wrong, and every episode.

const PAGE_LENGTH = 200;
const CATEGORIES = Object.keys(data.failures);
const CATEGORY_COLOURS = 8;
const categoryColour = (category) =>
  category === "unknown"
    ? colour("line-strong")
    : colour(`category-${(CATEGORIES.indexOf(category) % CATEGORY_COLOURS) + 1}`);

function definitions(pairs) {
  return make(
    "dl",
    {},
    ...pairs
      .filter(([, text]) => text)
      .flatMap(([name, text]) => [make("dt", { textContent: name }), make("dd", { textContent: text })]),
  );
}

function showEntry(entry, rowId) {
  const place = byId("entry");
  if (!entry) {
    place.replaceChildren(make("p", { className: "notice", textContent: "There is no such entry." }));
    return;
  }
  byId("entry-choice").value = String(entries.indexOf(entry));
  const facts = definitions([
    ["kind", entry.kind],
    ["policy", entry.policy],
    ["method", entry.method],
    ["protocol", entry.protocol],
    ["assets", entry.assets],
    ["seeds", entry.runs.map((run) => run.seed).join(", ")],
    ["runs", entry.runs.map((run) => `${run.run} (records ${String(run.digest).slice(0, 12)})`).join("; ")],
  ]);
  place.replaceChildren(facts, ...(isPublished(entry) ? publishedParts(entry) : measuredParts(entry, rowId)));
  if (!isPublished(entry)) drawFailures(entry);
}

function publishedParts(entry) {
  const head = ["where", "success [%]", "definition", "episodes", "temperature", "source", "evidence"];
  const body = entry.facts.map((fact) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", textContent: fact.scope }),
      make("td", { className: "number", textContent: percent(fact.value) }),
      ...[
        DEFINITIONS[fact.success] ?? fact.success,
        fact.episodes,
        fact.temperature,
        [fact.source, fact.citation].filter(Boolean).join(", "),
        fact.evidence,
      ].map((value) => make("td", { textContent: value ?? DASH })),
    ),
  );
  return [
    make("p", {
      className: "notice",
      textContent: "Copied from a publication, not measured here: there are no episodes, and no test takes part in it.",
    }),
    scrolling(
      "Published numbers",
      make(
        "table",
        {},
        make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))),
        make("tbody", {}, ...body),
      ),
    ),
  ];
}

const scrolling = (label, ...children) =>
  make("div", { className: "scroll", role: "region", "aria-label": label, tabIndex: 0 }, ...children);

function measuredParts(entry, rowId) {
  const played = rowColumns.filter((column) => entry.rows[column.row]);
  const canvas = make("canvas", { id: "failures", role: "img" });
  const box = make("div", { className: "canvas" }, canvas);
  box.style.height = `${90 + 24 * played.length}px`;
  const head = ["row", "n", "success [%]", "95% interval", "once [%]", "errors", ""];
  const body = played.map((column) => {
    const line = entry.rows[column.row];
    const cells = [
      line[ROW.n],
      percent(line[ROW.rate]),
      interval(line[ROW.low], line[ROW.high]),
      percent(line[ROW.once]),
      line[ROW.errors],
    ];
    const link = make("a", {
      href: `#/entry/${encodeURIComponent(entry.name)}/${encodeURIComponent(column.id)}`,
      "aria-label": `Episodes of ${column.id}`,
      textContent: "episodes",
    });
    return make(
      "tr",
      { className: column.id === rowId ? "current" : "" },
      make("th", { scope: "row", textContent: column.id }),
      ...cells.map((text) => make("td", { className: "number", textContent: text ?? DASH })),
      make("td", {}, link),
    );
  });
  const table = make(
    "table",
    { className: "numbers" },
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))),
    make("tbody", {}, ...body),
  );
  const column = played.find((one) => one.id === rowId);
  return [
    make(
      "div",
      { className: "charts" },
      make(
        "figure",
        {},
        make("figcaption", { textContent: "How failures went wrong, in percent of the episodes" }),
        box,
      ),
      make("figure", {}, make("figcaption", { textContent: "Rows" }), scrolling("Rows", table)),
    ),
    column
      ? episodeList(entry, column)
      : make("p", { className: "quiet", textContent: "Choose a row to see its episodes." }),
  ];
}

function drawFailures(entry) {
  const played = rowColumns.filter((column) => entry.rows[column.row]);
  const found = played.map((column) => failuresOf(entry, column.row));
  const datasets = CATEGORIES.map((category) => ({
    label: words(category),
    data: found.map(({ counts, n }) => (n && counts[category] ? (100 * counts[category]) / n : null)),
    backgroundColor: categoryColour(category),
    borderColor: colour("surface"),
    borderWidth: 0.5,
  })).filter(({ data: values }) => values.some((value) => value !== null));
  draw("failures", `Failures of ${entry.name} by row and category`, {
    type: "bar",
    data: { labels: played.map((column) => column.name), datasets },
    options: {
      indexAxis: "y",
      scales: {
        x: { stacked: true, min: 0, max: 100 },
        y: { stacked: true, grid: { display: false }, ticks: { autoSkip: false } },
      },
      plugins: {
        tooltip: { callbacks: { label: ({ dataset, parsed }) => `${dataset.label}: ${rounded(parsed.x, 1)}%` } },
      },
    },
  });
}

function outcomeCell(episode) {
  const cell = make("td", {}, badge(episode.outcome, episode.outcome));
  if (episode.failure) {
    const mark = make("span", { className: "swatch", "aria-hidden": "true" });
    mark.style.background = categoryColour(episode.failure);
    cell.append(
      " ",
      mark,
      make("span", { textContent: words(episode.failure), title: data.failures[episode.failure] ?? "" }),
    );
  }
  return cell;
}

function videoCell(episode, label) {
  if (!episode.video) return make("td", { textContent: DASH });
  const cell = make("td");
  const button = make("button", { type: "button", textContent: "▶ play", "aria-label": `Play the video of ${label}` });
  button.addEventListener("click", () => {
    const video = make("video", {
      controls: true,
      autoplay: true,
      muted: true,
      loop: true,
      preload: "metadata",
      src: episode.video,
      "aria-label": label,
    });
    const problem = make("p", {
      className: "quiet",
      textContent: "The video is not where it was when this page was made.",
    });
    video.addEventListener("error", () => video.replaceWith(problem), { once: true });
    cell.replaceChildren(video, make("a", { href: episode.video, textContent: "open" }));
    video.focus();
  });
  cell.append(
    button,
    " ",
    make("a", { href: episode.video, textContent: "open", "aria-label": `Open the video of ${label}` }),
  );
  return cell;
}

function episodeTable(episodes, several) {
  const head = ["index", ...(several ? ["seed"] : []), "outcome", "success once", "steps", "instruction", "video"];
  const once = (value) => (value === null ? DASH : value ? "yes" : "no");
  const body = episodes.map((episode) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", className: "number", textContent: episode.index }),
      several ? make("td", { className: "number", textContent: episode.seed }) : null,
      outcomeCell(episode),
      make("td", { textContent: once(episode.once) }),
      make("td", { className: "number", textContent: episode.steps ?? DASH }),
      make("td", { textContent: episode.instruction ?? DASH }),
      videoCell(episode, `episode ${episode.index}`),
    ),
  );
  return make(
    "table",
    { className: "episodes" },
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))),
    make("tbody", {}, ...body),
  );
}

function episodeList(entry, column) {
  const all = episodesOf(entry, column.row);
  const several = new Set(all.map((episode) => episode.seed)).size > 1;
  const section = make("section", { id: "episodes", "aria-label": `Episodes of ${column.id}` });
  const select = make("select");
  const kinds = [
    ["", "all"],
    ...["success", "failure", "error"].map((kind) => [kind, kind]),
    ...CATEGORIES.map((kind) => [`failure:${kind}`, `failure: ${words(kind)}`]),
  ];
  const fits = (kind) => (episode) => !kind || episode.outcome === kind || `failure:${episode.failure}` === kind;
  const options = kinds
    .map(([kind, text]) => [kind, text, all.filter(fits(kind)).length])
    .filter(([kind, , count]) => !kind || count);
  fillSelect(
    select,
    options.map(([kind, text, count]) => [kind, `${text} (${count})`]),
    "",
  );
  const films = make("input", { type: "checkbox" });
  const list = make("div");
  const fill = (limit) => {
    const wanted = all.filter(fits(select.value)).filter((episode) => !films.checked || episode.video);
    const more = make("button", { type: "button", textContent: `Show all ${wanted.length}` });
    more.addEventListener("click", () => fill(Infinity));
    list.replaceChildren(
      scrolling(`Episodes of ${column.id}`, episodeTable(wanted.slice(0, limit), several)),
      wanted.length > limit ? more : "",
    );
  };
  select.addEventListener("change", () => fill(PAGE_LENGTH));
  films.addEventListener("change", () => fill(PAGE_LENGTH));
  section.append(
    make("h3", { textContent: `Episodes of ${column.id}` }),
    make(
      "div",
      { className: "controls" },
      make("label", {}, "Outcome ", select),
      make("label", { className: "check" }, films, " with a video only"),
    ),
    list,
  );
  fill(PAGE_LENGTH);
  return section;
}

function startEntry() {
  const select = byId("entry-choice");
  fillSelect(select, entryOptions(), "0");
  select.addEventListener("change", () => {
    location.hash = `#/entry/${encodeURIComponent(entries[select.value].name)}`;
  });
}
