"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const INPUTS = [["clean", "blue", ""], ["adversarial", "vermillion", "6 3"]];

  function data(section) {
    const holder = document.getElementById(`data-${section}`);
    return holder ? JSON.parse(holder.textContent) : {};
  }

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function shape(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function nearest(items, value, of) {
    let found = 0;
    items.forEach((item, i) => {
      if (Math.abs(of(item) - value) < Math.abs(of(items[found]) - value)) found = i;
    });
    return found;
  }

  // Light and dark.

  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function prepareTheme() {
    document.getElementById("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    });
  }

  // The link of the section that is being read.

  function prepareLinks() {
    const links = [...document.querySelectorAll("nav a")];
    const sections = links.map((link) => document.querySelector(link.getAttribute("href")));
    const mark = () => {
      const passed = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3).length;
      links.forEach((link, i) => {
        if (i === Math.max(0, passed - 1)) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      });
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  }

  // Tables: numbers by value, texts by letters, missing values last either way; equal rows keep their order.

  function sortRows(table, column, descending) {
    const body = table.tBodies[0];
    const keyOf = (row) => row.cells[column].dataset.key;
    const rows = [...body.rows];
    const numeric = rows.every((row) => keyOf(row) === undefined || row.cells[column].classList.contains("number"));
    const order = (a, b) => (numeric ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0);
    const present = rows.filter((row) => keyOf(row) !== undefined);
    present.sort((a, b) => (descending ? -1 : 1) * order(keyOf(a), keyOf(b)));
    body.append(...present, ...rows.filter((row) => keyOf(row) === undefined));
  }

  function prepareTables() {
    for (const table of document.querySelectorAll("table.sortable")) {
      const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
      heads.forEach((head, column) => {
        head.querySelector("button").addEventListener("click", () => {
          const descending = head.getAttribute("aria-sort") === "ascending";
          heads.forEach((other) => other.setAttribute("aria-sort", "none"));
          head.setAttribute("aria-sort", descending ? "descending" : "ascending");
          sortRows(table, column, descending);
        });
      });
    }
  }

  // Charts: the values at the epoch under the pointer, or at the one the arrow keys went to.

  function prepareCharts() {
    const charts = data("curves");
    for (const plot of document.querySelectorAll("[data-chart]")) prepareChart(plot, charts[plot.dataset.chart]);
  }

  function prepareChart(plot, chart) {
    const svg = plot.querySelector("svg");
    const cursor = svg.querySelector(".cursor");
    const readout = plot.querySelector(".readout");
    let at = null;

    function show(i) {
      at = i;
      cursor.toggleAttribute("hidden", i === null);
      readout.hidden = i === null;
      if (i === null) return;
      const [epoch, x] = chart.epochs[i];
      const box = svg.viewBox.baseVal;
      const drawn = [];
      cursor.replaceChildren(shape("line", { x1: x, x2: x, y1: 12, y2: box.height - 36 }));
      readout.replaceChildren(element("b", {}, `epoch ${epoch}`));
      for (const line of chart.lines) {
        if (line.pixels[i] === null) continue;
        drawn.push(line.pixels[i]);
        cursor.append(shape("circle", { class: `stroke-${line.color}`, cx: x, cy: line.pixels[i], r: 4 }));
        const dot = element("i", { class: `fill-${line.color}` });
        readout.append(element("div", {}, dot, `${line.name}: ${line.texts[i]}`));
      }
      const pixel = (x / box.width) * plot.clientWidth;
      const right = pixel > plot.clientWidth / 2;
      const left = right ? pixel - readout.offsetWidth - 10 : pixel + 10;
      const height = (svg.clientHeight * (box.height - 36)) / box.height;
      const mean = drawn.reduce((sum, y) => sum + y, 0) / drawn.length;
      readout.style.top = `${mean < box.height / 2 ? Math.max(0, height - readout.offsetHeight - 6) : 0}px`;
      readout.style.left = `${Math.max(0, Math.min(left, plot.clientWidth - readout.offsetWidth))}px`;
    }

    function atPointer(event) {
      const frame = svg.getBoundingClientRect();
      const x = ((event.clientX - frame.left) / frame.width) * svg.viewBox.baseVal.width;
      show(nearest(chart.epochs, x, (pair) => pair[1]));
    }

    plot.addEventListener("pointermove", atPointer);
    plot.addEventListener("pointerdown", atPointer);
    plot.addEventListener("pointerleave", () => show(null));
    plot.addEventListener("blur", () => show(null));
    plot.addEventListener("keydown", (event) => {
      const last = chart.epochs.length - 1;
      const to = {
        ArrowRight: at === null ? 0 : Math.min(at + 1, last),
        ArrowLeft: at === null ? last : Math.max(at - 1, 0),
        Home: 0,
        End: last,
        Escape: null,
      };
      if (!(event.key in to)) return;
      event.preventDefault();
      show(to[event.key]);
    });
  }

  // Epoch by epoch.

  const LEFT = 34, RIGHT = 310, TOP = 22, BOTTOM = 284;
  const across = (share) => (LEFT + share * (RIGHT - LEFT)).toFixed(1);
  const up = (share) => (BOTTOM - share * (BOTTOM - TOP)).toFixed(1);

  function unitAxes(svg, label, top, side) {
    for (const share of [0, 0.5, 1]) {
      svg.append(
        shape("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: up(share), y2: up(share) }),
        shape("text", { class: "tick", x: LEFT - 6, y: Number(up(share)) + 4, "text-anchor": "end" }, top(share)),
        shape("text", { class: "tick", x: across(share), y: BOTTOM + 16, "text-anchor": share === 1 ? "end" : "middle" }, String(share)),
      );
    }
    svg.append(
      shape("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: BOTTOM, y2: BOTTOM }),
      shape("text", { class: "tick", x: (LEFT + RIGHT) / 2, y: BOTTOM + 32, "text-anchor": "middle" }, label),
      shape("text", { class: "tick", x: LEFT, y: TOP - 9 }, side),
    );
  }

  function drawMap(svg, key, found, run) {
    const place = (v) => (12 + (v / run.grid) * 296).toFixed(1);
    const byClass = new Map();
    found.labels.forEach((label, i) => {
      const dot = `M${place(found.x[i])} ${place(run.grid - found.y[i])}h0`;
      byClass.set(label, (byClass.get(label) || "") + dot);
    });
    svg.append(shape("rect", { class: "frame", x: 1, y: 1, width: 318, height: 318, rx: 4 }));
    for (const label of [...byClass.keys()].sort((a, b) => a - b)) {
      svg.append(shape("path", { class: `dots class-${label % 10}`, d: byClass.get(label) }));
    }
    const cross = (i) => `M${Number(place(found.x[i])) - 2.2} ${Number(place(run.grid - found.y[i])) - 2.2}l4.4 4.4m0 -4.4l-4.4 4.4`;
    svg.append(shape("path", { class: "wrong", d: found.wrong.map(cross).join("") || "M0 0" }));
    const n = found.labels.length;
    const score = found.silhouette === null ? "" : `; silhouette of the features ${found.silhouette}`;
    key.replaceChildren(`${n} images in the colours of their true classes; ×: ${found.wrong.length} predicted wrong${score}`);
    const classes = element("span", { class: "classes" });
    for (const label of [...byClass.keys()].sort((a, b) => a - b).slice(0, 10)) {
      const dot = shape("svg", { class: `class class-${label % 10}`, viewBox: "-5 -5 10 10", "aria-hidden": "true" });
      dot.append(shape("path", { d: "M0 0h0" }));
      classes.append(element("span", {}, dot, String(label)));
    }
    if (byClass.size <= 10) key.append(classes);
    return `t-SNE map of ${n} images of ${byClass.size} classes, ${found.wrong.length} predicted wrong${score}`;
  }

  function keyed(key, parts) {
    key.replaceChildren();
    for (const [color, dashes, text] of parts) {
      const sample = shape("svg", { class: "sample", viewBox: "-18 -6 36 12", "aria-hidden": "true" });
      sample.append(shape("path", { class: `line stroke-${color}`, d: "M-17 0H17", "stroke-dasharray": dashes }));
      key.append(element("span", {}, sample, text));
    }
  }

  function drawDiagram(svg, key, found) {
    unitAxes(svg, "confidence", (share) => String(share), "accuracy");
    svg.append(shape("line", { class: "diagonal", x1: across(0), x2: across(1), y1: up(0), y2: up(1) }));
    const told = [];
    for (const [inputs, color, dashes] of INPUTS) {
      if (!found[inputs]) continue;
      const bins = found[inputs].bins;
      const total = bins.reduce((sum, bin) => sum + bin[2], 0);
      const at = ([confidence, accuracy]) => `${across(confidence)} ${up(accuracy)}`;
      if (bins.length) svg.append(shape("path", { class: `line stroke-${color}`, d: `M${bins.map(at).join("L")}`, "stroke-dasharray": dashes }));
      for (const bin of bins) {
        const r = (2 + 10 * Math.sqrt(Math.min(bin[2] / total, 0.5))).toFixed(1);
        const place = { class: `fill-${color}`, cx: across(bin[0]), cy: up(bin[1]), r, "fill-opacity": 0.75 };
        svg.append(shape("circle", place));
      }
      told.push([color, dashes, `${inputs}${found[inputs].ece === null ? "" : `, ECE ${found[inputs].ece}`}`]);
    }
    keyed(key, told);
    return `Reliability diagram, accuracy over confidence; ${told.map((part) => part[2]).join("; ")}`;
  }

  function drawHistogram(svg, key, found) {
    const shares = {};
    for (const [inputs] of INPUTS) {
      if (!found[inputs]) continue;
      const total = Math.max(1, found[inputs].reduce((sum, count) => sum + count, 0));
      shares[inputs] = found[inputs].map((count) => count / total);
    }
    const highest = Math.max(...Object.values(shares).flat(), 0.01);
    const ceiling = Math.ceil(highest * 20) / 20;
    unitAxes(svg, "probability of the labelled class", (share) => `${+(100 * ceiling * share).toFixed(1)}`, "% of images");
    const told = [];
    for (const [inputs, color, dashes] of INPUTS) {
      if (!shares[inputs]) continue;
      const n = shares[inputs].length;
      const steps = shares[inputs].map((s, i) => `L${across(i / n)} ${up(s / ceiling)}H${across((i + 1) / n)}`).join("");
      const outline = `M${across(0)} ${up(0)}${steps}L${across(1)} ${up(0)}`;
      svg.append(shape("path", { class: `area fill-${color}`, d: `${outline}z` }));
      svg.append(shape("path", { class: `step stroke-${color}`, d: outline, "stroke-dasharray": dashes }));
      const sure = shares[inputs].slice(n / 2).reduce((sum, share) => sum + share, 0);
      told.push([color, dashes, `${inputs}, ${(100 * sure).toFixed(0)} % above ½`]);
    }
    keyed(key, told);
    return `Histogram of the probability of the labelled class; ${told.map((part) => part[2]).join("; ")}`;
  }

  const PICTURES = { map: ["maps", drawMap], diagram: ["diagrams", drawDiagram], histogram: ["histograms", drawHistogram] };

  function drawNumbers(table, diagram, histogram) {
    const cells = (tag, texts) => element("tr", {}, ...texts.map((text) => element(tag, tag === "th" ? { class: "number", scope: "col" } : { class: "number" }, text)));
    const rows = [];
    for (const [inputs] of INPUTS) {
      for (const [confidence, accuracy, count] of (diagram && diagram[inputs] ? diagram[inputs].bins : [])) {
        rows.push([inputs, "reliability", String(confidence), String(accuracy), String(count)]);
      }
      (histogram && histogram[inputs] ? histogram[inputs] : []).forEach((count, i, all) => {
        rows.push([inputs, "probability", `${(i / all.length).toFixed(2)} to ${((i + 1) / all.length).toFixed(2)}`, "", String(count)]);
      });
    }
    table.tHead.replaceChildren(cells("th", ["images", "what", "confidence or probability", "accuracy", "count"]));
    table.tBodies[0].replaceChildren(...rows.map((row) => cells("td", row)));
  }

  function prepareEpochs() {
    const runs = data("epochs");
    const together = document.getElementById("together");
    const movers = [];
    for (const block of document.querySelectorAll("[data-epochs]")) {
      const run = runs[block.dataset.epochs];
      const slider = block.querySelector("input[type=range]");
      const output = block.querySelector("output");
      let drawn = null;

      const draw = () => {
        const epoch = run.epochs[Number(slider.value)];
        slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
        output.textContent = `epoch ${epoch}`;
        if (!block.open || drawn === epoch) return;
        drawn = epoch;
        const shown = {};
        for (const picture of block.querySelectorAll("[data-picture]")) {
          const [kind, paint] = PICTURES[picture.dataset.picture];
          if (!run[kind].length) continue;
          const found = run[kind][nearest(run[kind], epoch, (item) => item.epoch)];
          shown[kind] = found;
          const svg = picture.querySelector("svg");
          svg.replaceChildren();
          const words = paint(svg, picture.querySelector(".key"), found, run);
          svg.setAttribute("aria-label", `${words}; ${run.name}, epoch ${found.epoch}`);
          svg.dataset.epoch = found.epoch;
          picture.querySelector(".at").textContent = `epoch ${found.epoch}`;
        }
        const table = block.querySelector(".numbers table");
        if (table) drawNumbers(table, shown.diagrams, shown.histograms);
      };

      movers.push((epoch) => {
        slider.value = nearest(run.epochs, epoch, (value) => value);
        draw();
      });
      slider.addEventListener("input", () => {
        draw();
        if (together && together.checked) movers.forEach((move) => move(run.epochs[Number(slider.value)]));
      });
      block.addEventListener("toggle", draw);
      draw();
    }
  }

  // Paper has no buttons: everything is open while printing.

  function preparePrinting() {
    let closed = [];
    addEventListener("beforeprint", () => {
      closed = [...document.querySelectorAll("details:not([open])")];
      closed.forEach((part) => { part.open = true; part.dispatchEvent(new Event("toggle")); });
    });
    addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
  }

  prepareTheme();
  prepareLinks();
  prepareTables();
  prepareCharts();
  prepareEpochs();
  preparePrinting();
})();
