"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const table = document.querySelector(".runs");
  let brushed = null; // trials that the parallel coordinates let through, or one that was clicked; null: all
  let shown = 100;
  let sort = page.runs.sort;
  let descending = page.runs.descending;
  const search = document.getElementById("search");

  for (const [key, figures] of Object.entries(page.figures)) {
    const parent = document.querySelector(`#${key} .plots`);
    for (const figure of figures) {
      const plot = document.createElement("div");
      plot.className = "plot";
      if (figure.minWidth) plot.style.minWidth = figure.minWidth + "px";
      parent.appendChild(plot);
      const config = {
        // The buttons are named one by one: by default plotly also offers to send the chart to its cloud.
        responsive: true, displaylogo: false, plotlyServerURL: "", displayModeBar: figure.buttons.length ? "hover" : false,
        modeBarButtons: [figure.buttons],
        toImageButtonOptions: { format: "png", scale: 2, filename: key },
      };
      Plotly.newPlot(plot, figure.data, figure.layout, config);
      if (figure.trials) plot.on("plotly_restyle", () => brush(plot, figure.trials));
      plot.on("plotly_click", (event) => pick(event.points[0]));
    }
  }

  function brush(plot, trials) {
    // Limits as the reader dragged them; the values as the page brought them, unpacked by plotly.
    const limits = plot.data[0].dimensions.map((dimension, index) => ({
      values: plot._fullData[0].dimensions.find((full) => full._index === index)?.values ?? [],
      ranges: !dimension.constraintrange ? [] :
        Array.isArray(dimension.constraintrange[0]) ? dimension.constraintrange : [dimension.constraintrange],
    })).filter((limit) => limit.ranges.length);
    const inside = (value, ranges) => ranges.some(([low, high]) => low <= value && value <= high);
    brushed = limits.length
      ? new Set(trials.filter((_, i) => limits.every((limit) => inside(limit.values[i], limit.ranges))))
      : null;
    draw();
  }

  function pick(point) {
    if (!point || point.customdata === undefined || Array.isArray(point.customdata)) return;
    const column = point.data.meta === "runs" ? 0 : 1;
    const row = page.runs.rows.find((r) => r[column] === point.customdata);
    if (!row) return;
    brushed = new Set([row[1]]);
    draw();
    document.getElementById("runs").scrollIntoView();
  }

  const wanted = () => search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);

  function chosen() {
    const words = wanted();
    return page.runs.rows.filter((row) => {
      if (brushed && !brushed.has(row[1])) return false;
      if (!words.length) return true;
      const line = row.map((cell, i) => show(cell, page.runs.columns[i])).join("\n").toLowerCase();
      return words.every((word) => line.includes(word));
    });
  }

  function compare(a, b) {
    const missing = (x) => x === null || x === undefined || x === "";
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
    return descending ? -order : order;
  }

  function show(cell, column) {
    if (cell === null || cell === undefined) return "";
    if (typeof cell !== "number") return String(cell);
    if (column.kind === "seconds") return seconds(cell);
    if (Number.isInteger(cell)) return String(cell);
    const short = Number(cell.toPrecision(column.kind === "objective" ? 6 : 5));
    return Math.abs(short) < 1e-4 ? short.toExponential() : String(short);
  }

  function seconds(s) {
    if (s < 9.95) return s.toFixed(1) + " s";
    s = Math.round(s);
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
    return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  }

  function draw() {
    const rows = chosen().sort((a, b) => compare(a[sort], b[sort]) || a[0] - b[0]);
    table.tHead.replaceChildren(head());
    table.tBodies[0].replaceChildren(...rows.slice(0, shown).map(line));
    const all = page.runs.rows.length;
    document.getElementById("count").textContent = rows.length === all ? `${all} runs` : `${rows.length} of ${all} runs`;
    document.getElementById("more").hidden = rows.length <= shown;
    document.getElementById("reset").hidden = !brushed && !search.value;
  }

  function head() {
    const row = document.createElement("tr");
    page.runs.columns.forEach((column, index) => {
      const cell = document.createElement("th");
      const button = document.createElement("button");
      button.textContent = column.label + (index === sort ? (descending ? " ↓" : " ↑") : "");
      button.title = column.label;
      button.addEventListener("click", () => {
        descending = index === sort ? !descending : false;
        sort = index;
        remember();
        draw();
      });
      if (column.kind !== "text" && column.kind !== "state") cell.className = "number";
      cell.setAttribute("aria-sort", index === sort ? (descending ? "descending" : "ascending") : "none");
      cell.appendChild(button);
      row.appendChild(cell);
    });
    return row;
  }

  function line(row) {
    const element = document.createElement("tr");
    if (row[0] === page.runs.best) element.className = "best-run";
    row.forEach((value, index) => {
      const column = page.runs.columns[index];
      const cell = document.createElement("td");
      if (column.kind === "state") {
        const dot = document.createElement("i");
        const colour = page.states[value] ?? "#8a94a0";
        dot.className = "dot";
        dot.style.borderColor = colour;
        if (value === "completed" || value === "failed") dot.style.background = colour;
        cell.appendChild(dot);
      }
      cell.appendChild(document.createTextNode(show(value, column)));
      if (column.kind !== "text" && column.kind !== "state") cell.className = "number";
      if (typeof value === "string" && value.length > 30) cell.title = value;
      element.appendChild(cell);
    });
    return element;
  }

  // The table's state stands in the address, so that a link shows the same rows.
  function remember() {
    const state = new URLSearchParams({ sort: page.runs.columns[sort].label, order: descending ? "down" : "up", find: search.value });
    window.history.replaceState(null, "", "#runs?" + state);
  }

  function recall() {
    if (!location.hash.startsWith("#runs?")) return;
    const state = new URLSearchParams(location.hash.slice(6));
    const index = page.runs.columns.findIndex((column) => column.label === state.get("sort"));
    if (index >= 0) sort = index;
    descending = state.get("order") === "down";
    search.value = state.get("find") ?? "";
    document.getElementById("runs").scrollIntoView();
  }

  search.addEventListener("input", () => { shown = 100; remember(); draw(); });
  document.getElementById("more").addEventListener("click", () => { shown += 400; draw(); });
  document.getElementById("reset").addEventListener("click", () => { brushed = null; search.value = ""; remember(); draw(); });
  recall();
  draw();
})();
