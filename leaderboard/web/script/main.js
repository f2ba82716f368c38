// Which view is shown, in which colours. The address says which, so that a link leads to what was seen.

function currentView() {
  const parts = location.hash
    .replace(/^#\/?/, "")
    .split("/")
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
  return parts;
}

function showView() {
  const [wanted, ...rest] = currentView();
  const view = ["table", "charts", "entry", "compare"].includes(wanted) ? wanted : "table";
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${view}`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view === "charts") showCharts();
  if (view === "table") checkBoxes();
  if (view === "entry") {
    showEntry(rest[0] ? entryNamed(rest[0]) : entries[byId("entry-choice").value || 0], rest[1]);
    if (rest[1]) byId("episodes")?.scrollIntoView({ block: "start" });
  }
  if (view === "compare") {
    const [a, b] =
      rest.length > 1
        ? rest.slice(0, 2).map(entryNamed)
        : ["compare-a", "compare-b"].map((id) => entries[byId(id).value]);
    showComparison(a, b, rest[2]);
    if (rest[2]) byId("differing")?.scrollIntoView({ block: "start" });
  }
}

// The charts' view may have changed who is chosen.
function checkBoxes() {
  for (const { entry, element } of lines) element.querySelector("input").checked = chosen.has(entry);
}

function startTheme() {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    byId("theme").setAttribute("aria-pressed", String(theme === "dark"));
  };
  apply(recall("theme") ?? (system.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    remember("theme", theme);
    apply(theme);
    showView();
  });
  system.addEventListener("change", (event) => {
    if (recall("theme")) return;
    apply(event.matches ? "dark" : "light");
    showView();
  });
}

function start() {
  startTheme();
  const count = (kind) => entries.filter((entry) => entry.kind === kind).length;
  byId("summary").textContent =
    `${data.protocol} · assets ${data.assets} · ${count("measured")} measured${count("published") ? `, ${count("published")} published` : ""} · ${rowColumns.length} rows`;
  entries
    .filter((entry) => !isPublished(entry))
    .slice(0, 3)
    .forEach((entry) => choose(entry, true));
  startTable();
  startEntry();
  startCompare();
  byId("radar-spokes").addEventListener("change", drawRadar);
  window.addEventListener("hashchange", showView);
  showView();
}

start();
