// Draws every <figure class="chart"> from the JSON inside it. Beside each stands the same as a
// table, so a page without scripts, or read aloud, lacks nothing.
"use strict";

(() => {
  const HEIGHT = 260;
  const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000]; // steps have no halves
  const NAME_WIDTH = 90;
  const drawn = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const seriesColour = (place) => colour(`--series-${(place % 6) + 1}`);
  const dashes = (place) => (place < 6 ? undefined : [6, 4]);

  function axis(label, extra) {
    const text = colour("--pico-color");
    const grid = { stroke: colour("--grid"), width: 1 };
    return { label, stroke: text, grid, ticks: grid, ...extra };
  }

  function lines(data) {
    const series = data.series.map((one, place) => ({
      label: one.label,
      stroke: seriesColour(place),
      dash: dashes(place),
      width: 2,
      spanGaps: true,
      points: { show: data.x.length < 30 },
    }));
    return {
      options: {
        scales: { x: { time: false } },
        axes: [axis(data.x_label, data.x.every(Number.isInteger) ? { incrs: WHOLE } : {}), axis(data.y_label)],
        series: [{ label: data.x_label }, ...series],
      },
      columns: [data.x, ...data.series.map((one) => one.values)],
    };
  }

  // Bar k of group g stands at g·(K + 1) + k: each series has values at its own places alone.
  function bars(data) {
    const stride = data.series.length + 1;
    const places = data.names.flatMap((_, g) => data.series.map((_, k) => g * stride + k));
    const columns = data.series.map((one, k) =>
      places.map((place) => (place % stride === k ? one.values[Math.floor(place / stride)] : null)),
    );
    const middles = data.names.map((_, g) => g * stride + (data.series.length - 1) / 2);
    const series = data.series.map((one, k) => ({
      label: one.label,
      stroke: seriesColour(k),
      fill: seriesColour(k),
      paths: uPlot.paths.bars({ size: [0.9, 60] }),
      points: { show: false },
    }));
    return {
      options: {
        scales: {
          x: { time: false, range: [-1, data.names.length * stride - 1] },
          y: { range: (_, low, high) => uPlot.rangeNum(Math.min(low, 0), Math.max(high, 0), 0.1, true) },
        },
        axes: [
          axis(data.x_label, {
            splits: () => middles,
            // Names that would overlap are left out; the table has all.
            values: (plot) => {
              const every = Math.ceil((NAME_WIDTH * data.names.length) / plot.width);
              return data.names.map((name, g) => (g % every === 0 ? name : ""));
            },
            grid: { show: false },
          }),
          axis(data.y_label),
        ],
        series: [{ label: data.x_label, value: (_, place) => nameAt(data, stride, place) }, ...series],
      },
      columns: [places, ...columns],
    };
  }

  function nameAt(data, stride, place) {
    return place === null || place === undefined ? "–" : data.names[Math.floor(place / stride)];
  }

  const kinds = { lines, bars };

  function draw(figure) {
    const plot = figure.querySelector(".plot");
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const { options, columns } = kinds[figure.dataset.kind](data);
    drawn.get(plot)?.destroy();
    const size = { width: plot.clientWidth, height: HEIGHT };
    drawn.set(plot, new uPlot({ ...size, cursor: { drag: { x: false, y: false } }, ...options }, columns, plot));
  }

  function drawAll(within) {
    for (const plot of drawn.keys()) {
      if (!plot.isConnected) {
        drawn.get(plot).destroy();
        drawn.delete(plot);
      }
    }
    within.querySelectorAll("figure.chart").forEach(draw);
  }

  addEventListener("DOMContentLoaded", () => drawAll(document));
  document.addEventListener("htmx:afterSettle", (event) => drawAll(event.target));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
  let resized;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => drawAll(document), 150);
  });
})();
