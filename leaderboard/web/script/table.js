// The leaderboard itself: sortable, and filtered by text, kind, protocol and axis.

const sorting = { column: null, descending: true };
let lines = [];
let waiting = null;
const FIRST_LINES = 40;

const DROP = { id: "drop", name: "drop", group: "held-out", drop: true };

// What is shown of each entry, left to right: means first, the rows of the chosen axes behind them.
function shownColumns(choice) {
  const means = [...axisColumns].sort((a, b) => (b.id === "held-out") - (a.id === "held-out"));
  if (means[0]?.id === "held-out") means.splice(1, 0, { ...DROP, axis: means[0].axis });
  if (choice === "means") return means;
  if (choice === "derived") return rowColumns.filter((column) => column.derived);
  // An axis of one row is that row.
  const several = (column) =>
    column.drop || column.id === "held-out" || plainRows.filter((row) => row.group === column.id).length !== 1;
  if (choice === "all") return [...means.filter(several), ...plainRows];
  const axis = choice.slice("axis:".length);
  return [
    ...means.filter((column) => column.id === axis && several(column)),
    ...plainRows.filter((column) => column.group === axis),
  ];
}

function valueOf(entry, column) {
  const found = numbers(entry, column);
  const value = found && (column.drop ? found.drop : found.rate);
  return isKnown(value) ? value : null;
}

function numberCell(entry, place, column) {
  const found = numbers(entry, column);
  const value = valueOf(entry, column);
  const cell = make("td", { className: "number" });
  if (value === null) {
    const claim = column.drop ? null : claimOf(entry, column);
    cell.append(claim ? claimMark(claim) : DASH);
    return cell;
  }
  const best = !column.drop && data.tied[column.id]?.includes(place);
  const text = column.drop ? signed(-value) : percent(value);
  cell.append(best ? make("strong", { textContent: text }) : text);
  if (column.drop) return cell;
  cell.classList.add("rate");
  cell.style.setProperty("--rate", value.toFixed(3));
  cell.title = `${entry.name}, ${column.id}: ${percent(value)}% [${interval(found.low, found.high)}], n = ${found.n ?? DASH}`;
  if (byId("show-intervals").checked)
    cell.append(make("small", { className: "interval", textContent: interval(found.low, found.high) }));
  return cell;
}

// A number of a publication that must not be sorted among the others.
function claimMark(claim) {
  const definition = `as published; success ${DEFINITIONS[claim.success] ?? claim.success}`;
  return make(
    "span",
    { className: "claim", title: definition },
    percent(claim.value),
    make("sup", { textContent: "†", role: "img", "aria-label": definition }),
  );
}

function entryCell(entry) {
  const box = make("input", {
    type: "checkbox",
    checked: chosen.has(entry),
    "aria-label": `Show ${entry.name} in the charts`,
  });
  box.addEventListener("change", () => {
    if (!choose(entry, box.checked)) box.checked = chosen.has(entry);
  });
  const about = [entry.policy, entry.method].filter((text) => text && !entry.name.includes(text)).join(" · ");
  return make(
    "th",
    { scope: "row" },
    make(
      "div",
      { className: "entry" },
      box,
      make(
        "div",
        {},
        entryLink(entry),
        isPublished(entry) ? badge("published", "published") : null,
        entry.seeds > 1 ? badge(`${entry.seeds} seeds`, "seeds") : null,
        about ? make("small", { className: "quiet about", textContent: about }) : null,
      ),
    ),
  );
}

function headerRows(columns) {
  const groups = make("tr", {}, make("td"));
  for (let place = 0; place < columns.length;) {
    let end = place;
    const group = (column) => (column.row === undefined ? "means" : column.group);
    while (end < columns.length && group(columns[end]) === group(columns[place])) end += 1;
    groups.append(
      make("th", { scope: "colgroup", colSpan: end - place, className: "group", textContent: group(columns[place]) }),
    );
    place = end;
  }
  const head = make("tr", {}, headerCell({ id: "name", name: "entry" }));
  columns.forEach((column) => head.append(headerCell(column)));
  return [groups, head];
}

function headerCell(column) {
  const active = sorting.column === column.id;
  const button = make("button", {
    type: "button",
    className: "sort",
    textContent: column.name,
    title: `Sort by ${column.id}`,
  });
  button.addEventListener("click", () => {
    sorting.descending = sorting.column === column.id ? !sorting.descending : column.id !== "name" && !column.drop;
    sorting.column = column.id;
    sortLines();
    byId("leaderboard").parentElement.scrollTop = 0;
  });
  return make(
    "th",
    {
      scope: "col",
      "aria-sort": active ? (sorting.descending ? "descending" : "ascending") : "none",
      "data-column": column.id,
    },
    button,
  );
}

function buildTable() {
  const columns = shownColumns(byId("filter-axis").value);
  if (sorting.column !== "name" && !columns.some((column) => column.id === sorting.column)) sorting.column = null;
  const body = make("tbody");
  lines = entries.map((entry, place) => ({
    entry,
    place,
    search: [entry.name, entry.policy, entry.method].join(" ").toLowerCase(),
    values: Object.fromEntries(columns.map((column) => [column.id, valueOf(entry, column)])),
    element: make(
      "tr",
      { className: isPublished(entry) ? "published" : "" },
      entryCell(entry),
      ...columns.map((column) => numberCell(entry, place, column)),
    ),
  }));
  byId("leaderboard").replaceChildren(
    make("caption", { className: "hidden", textContent: "Success at the end in percent, by entry" }),
    make("thead", {}, ...headerRows(columns)),
    body,
  );
  sortLines();
  filterLines();
}

// Undefined values come last in both directions, and ties keep the page's order: best held-out mean first.
function sortLines() {
  const { column, descending } = sorting;
  const direction = descending ? -1 : 1;
  const ordered = [...lines].sort((a, b) => {
    if (column === null) return a.place - b.place;
    if (column === "name") return direction * a.entry.name.localeCompare(b.entry.name) || a.place - b.place;
    const [left, right] = [a.values[column], b.values[column]];
    if (left === null || right === null) return (left === null) - (right === null) || a.place - b.place;
    return direction * (left - right) || a.place - b.place;
  });
  const table = byId("leaderboard");
  placeLines(
    table.tBodies[0],
    ordered.map((line) => line.element),
  );
  for (const header of table.tHead.rows[1].cells) {
    const active = header.dataset.column === column;
    header.setAttribute("aria-sort", active ? (descending ? "descending" : "ascending") : "none");
  }
}

// Puts the first screenful in order at once and the others in the next free moment: laying out thousands of cells takes
// long enough to be felt.
function placeLines(body, elements) {
  clearTimeout(waiting);
  body.replaceChildren(...elements.slice(0, FIRST_LINES));
  if (elements.length > FIRST_LINES) waiting = setTimeout(() => body.append(...elements.slice(FIRST_LINES)), 30);
}

function filterLines() {
  const wanted = byId("filter-text").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const kind = byId("filter-kind").value;
  const protocol = byId("filter-protocol").value;
  let shown = 0;
  for (const { entry, search, element } of lines) {
    const fits =
      wanted.every((word) => search.includes(word)) &&
      (!kind || entry.kind === kind) &&
      (!protocol || entry.protocol === protocol);
    element.hidden = !fits;
    shown += fits;
  }
  byId("count").textContent = shown === entries.length ? `${shown} entries` : `${shown} of ${entries.length} entries`;
}

function startTable() {
  const axes = [...new Set(plainRows.map((column) => column.group))];
  const choices = [
    ["means", "axis means"],
    ["all", "means and all rows"],
    ...axes.map((axis) => [`axis:${axis}`, `rows: ${axis}`]),
  ];
  if (rowColumns.some((column) => column.derived)) {
    choices.push(["derived", "compositions, severities, parts, controls"]);
  }
  const narrow = window.matchMedia("(max-width: 700px)").matches;
  fillSelect(byId("filter-axis"), choices, narrow ? "means" : "all");
  const distinct = (key) => [...new Set(entries.map((entry) => entry[key]).filter(Boolean))];
  fillSelect(byId("filter-kind"), [["", "all"], ...distinct("kind").map((kind) => [kind, kind])], "");
  fillSelect(byId("filter-protocol"), [["", "all"], ...distinct("protocol").map((name) => [name, name])], "");
  byId("claims").hidden = !entries.some((entry) =>
    [...axisColumns, ...plainRows].some((column) => valueOf(entry, column) === null && claimOf(entry, column)),
  );
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filter-axis").addEventListener("change", buildTable);
  for (const id of ["filter-text", "filter-kind", "filter-protocol"]) byId(id).addEventListener("input", filterLines);
  byId("show-intervals").addEventListener("change", buildTable);
  buildTable();
}
