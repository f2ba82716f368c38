// Charts of the chosen entries, drawn by Chart.js.

const MOST_CHOSEN = 8;
const drawn = {};

// Entry -> place of its colour. The first ones of the table to begin with; a colour stays with an entry while it is in.
const chosen = new Map();

function choose(entry, wanted) {
  if (wanted && !chosen.has(entry)) {
    const taken = new Set(chosen.values());
    const free = Array.from({ length: MOST_CHOSEN }, (_, place) => place).find((place) => !taken.has(place));
    if (free === undefined) {
      byId("count").textContent = `Charts show ${MOST_CHOSEN} entries at most: take another one out first.`;
      return false;
    }
    chosen.set(entry, free);
  }
  if (!wanted) chosen.delete(entry);
  return true;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const seriesColour = (place) => colour(`series-${place + 1}`);

// Hatching on the page's own background.
function hatched(stroke) {
  const tile = make("canvas", { width: 8, height: 8 });
  const context = tile.getContext("2d");
  context.fillStyle = colour("surface");
  context.fillRect(0, 0, 8, 8);
  context.strokeStyle = stroke;
  context.lineWidth = 1.5;
  for (const shift of [-8, 0, 8]) {
    context.beginPath();
    context.moveTo(shift - 2, 10);
    context.lineTo(shift + 10, -2);
    context.stroke();
  }
  return context.createPattern(tile, "repeat");
}

// Draws each value's interval over its bar: Chart.js has no error bars of its own.
const whiskers = {
  id: "whiskers",
  afterDatasetsDraw(chart) {
    const context = chart.ctx;
    context.save();
    context.strokeStyle = colour("ink");
    context.lineWidth = 1.2;
    chart.data.datasets.forEach(({ intervals }, number) => {
      if (!intervals || !chart.isDatasetVisible(number)) return;
      const sideways = chart.options.indexAxis === "y";
      const scale = sideways ? chart.scales.x : chart.scales.y;
      chart.getDatasetMeta(number).data.forEach((bar, place) => {
        const bounds = intervals[place];
        if (!bounds || !bounds.every(isKnown)) return;
        const [from, to] = bounds.map((bound) => scale.getPixelForValue(100 * bound));
        const middle = sideways ? bar.y : bar.x;
        const point = (along, across) => (sideways ? [along, across] : [across, along]);
        context.beginPath();
        for (const [start, end] of [
          [
            [from, middle],
            [to, middle],
          ],
          [
            [from, middle - 3],
            [from, middle + 3],
          ],
          [
            [to, middle - 3],
            [to, middle + 3],
          ],
        ]) {
          context.moveTo(...point(...start));
          context.lineTo(...point(...end));
        }
        context.stroke();
      });
    });
    context.restore();
  },
};

function draw(id, label, config) {
  drawn[id]?.destroy();
  const canvas = byId(id);
  canvas.setAttribute("aria-label", label);
  const text = colour("quiet");
  const grid = colour("line");
  const { options = {}, ...rest } = config;
  const axis = (own = {}) => ({
    ...own,
    grid: { color: grid, ...own.grid },
    ticks: { color: text, ...own.ticks },
    title: { display: Boolean(own.title), text: own.title, color: text },
  });
  const scales = Object.fromEntries(Object.entries(options.scales ?? {}).map(([name, own]) => [name, axis(own)]));
  drawn[id] = new Chart(canvas, {
    ...rest,
    options: {
      responsive: true,
      maintainAspectRatio: false,
      animation: false,
      ...options,
      scales,
      plugins: { legend: { labels: { color: colour("ink"), boxWidth: 14 } }, ...options.plugins },
    },
    plugins: [whiskers],
  });
}

const percentScale = { min: 0, max: 100, ticks: { stepSize: 20 }, title: "success at the end [%]" };

function tooltip(columns) {
  return {
    callbacks: {
      label: ({ dataset, dataIndex }) => {
        const found = dataset.found[dataIndex];
        const drop =
          columns[dataIndex].axis !== undefined && isKnown(found.drop) ? `, ${signed(-found.drop)}% from training` : "";
        return `${dataset.label}: ${percent(found.rate)}% [${interval(found.low, found.high)}]${drop}`;
      },
    },
  };
}

function datasetOf(entry, place, columns) {
  const found = columns.map((column) => numbers(entry, column) ?? {});
  const own = seriesColour(place);
  return {
    label: entry.name + (isPublished(entry) ? " (published)" : ""),
    found,
    data: found.map(({ rate }) => (isKnown(rate) ? 100 * rate : null)),
    borderColor: own,
    borderWidth: 1,
    backgroundColor: isPublished(entry) ? hatched(own) : own,
  };
}

function drawBars(id, label, columns) {
  const datasets = [...chosen].map(([entry, place]) => {
    const dataset = datasetOf(entry, place, columns);
    return { ...dataset, intervals: dataset.found.map(({ low, high }) => [low, high]) };
  });
  draw(id, label, {
    type: "bar",
    data: { labels: columns.map((column) => column.name), datasets },
    options: {
      scales: { x: { grid: { display: false }, ticks: { autoSkip: false, maxRotation: 50 } }, y: percentScale },
      plugins: { tooltip: tooltip(columns) },
    },
  });
}

function drawRadar() {
  const columns =
    byId("radar-spokes").value === "rows" ? plainRows : axisColumns.filter((column) => column.id !== "held-out");
  const datasets = [...chosen].map(([entry, place]) => ({
    ...datasetOf(entry, place, columns),
    borderWidth: 2,
    borderDash: isPublished(entry) ? [5, 3] : [],
    backgroundColor: "transparent",
    pointBackgroundColor: isPublished(entry) ? colour("surface") : seriesColour(place),
    pointRadius: 4,
  }));
  draw("radar", `Radar of success over ${columns.map((column) => column.name).join(", ")}`, {
    type: "radar",
    data: { labels: columns.map((column) => column.name), datasets },
    options: {
      scales: {
        r: {
          min: 0,
          max: 100,
          ticks: { stepSize: 20, backdropColor: "transparent", callback: (value) => (value === 100 ? "" : value) },
          angleLines: { color: colour("line") },
          pointLabels: { color: colour("ink"), font: { size: 11 } },
        },
      },
      plugins: {
        tooltip: tooltip(columns),
        legend: { labels: { color: colour("ink"), usePointStyle: true, boxHeight: 7 } },
      },
    },
  });
}

function drawChosen() {
  const select = make("select", { "aria-label": "Add an entry" });
  fillSelect(select, [["", "add an entry …"], ...entryOptions().filter(([place]) => !chosen.has(entries[place]))], "");
  select.addEventListener("change", () => {
    choose(entries[select.value], true);
    showCharts();
  });
  const chips = [...chosen].map(([entry, place]) => {
    const button = make("button", {
      type: "button",
      className: "chip",
      "aria-label": `Take ${entry.name} out`,
      textContent: entry.name,
    });
    button.style.setProperty("--own", seriesColour(place));
    button.addEventListener("click", () => {
      choose(entry, false);
      showCharts();
    });
    return button;
  });
  byId("chosen").replaceChildren(...chips, chosen.size < MOST_CHOSEN ? select : "");
}

function showCharts() {
  drawChosen();
  const names = [...chosen.keys()].map((entry) => entry.name).join(", ") || "no entry";
  byId("row-bars-box").style.minWidth = `${Math.max(600, plainRows.length * (22 + 9 * chosen.size))}px`;
  drawBars("row-bars", `Success by row of ${names}`, plainRows);
  drawBars("axis-bars", `Success by axis of ${names}`, axisColumns);
  drawRadar();
}
