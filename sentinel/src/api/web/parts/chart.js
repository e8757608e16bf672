// Charts over time, drawn by uPlot: lines that are told apart by dash as well as by colour.

import uPlot from "../vendor/uplot.mjs";
import { html, useEffect, useRef } from "../lib/ui.js";
import { compact } from "../lib/format.js";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options({ series, width, height, unit, seconds }) {
  const line = { stroke: color("--quiet"), font: `11px ${getComputedStyle(document.body).fontFamily}`, grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  return {
    width, height,
    padding: [10, 10, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: {
      x: { time: true, range: (_, low, high) => (high === null ? [0, 1] : [high - seconds, high]) },
      // Never a line glued to the top, nor noise blown up to fill the height.
      y: { range: (_, low, high) => [0, Math.max(high || 0, unit === "" ? 1 : 10) * 1.1] },
    },
    axes: [
      { ...line, values: (_, at) => at.map((s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: seconds <= 300 ? "2-digit" : undefined })), space: 90 },
      { ...line, values: (_, at) => at.map(compact), size: 52 },
    ],
    series: [{}, ...series.map(({ color: name, dash, filled }) => ({
      stroke: color(name), width: 1.8, dash, spanGaps: false, points: { show: false }, fill: filled ? `${color(name)}24` : undefined,
    }))],
  };
}

/** `points`: [{at (ms), …}], oldest first; `series`: [{name, of, color, dash, filled}]; the last `seconds` are shown. */
export function Chart({ id, title, series, points, height = 206, unit = "packets/s", seconds = 120, show = compact }) {
  const place = useRef(null);
  const out = useRef(null);
  const plot = useRef(null);
  const shown = useRef(null);
  shown.current = () => {
    const at = plot.current?.cursor.idx ?? points.length - 1;
    const point = points[at];
    if (!point || point.gap) return "";
    const values = series.map(({ name, of }) => (of(point) === null ? null : `${show(of(point))} ${name}`.trim())).filter(Boolean).join(", ");
    return `${plot.current?.cursor.idx == null ? "now" : new Date(point.at).toLocaleTimeString()} ${values}`;
  };
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const make = () => {
      plot.current?.destroy();
      const width = place.current.clientWidth;
      const hooks = { setCursor: [() => out.current && (out.current.textContent = shown.current())] };
      plot.current = new uPlot({ ...options({ series, width, height, unit, seconds }), hooks }, data(series, points), place.current);
    };
    make();
    const resize = new ResizeObserver(() => place.current && plot.current?.setSize({ width: place.current.clientWidth, height }));
    resize.observe(place.current);
    dark.addEventListener("change", make);
    return () => {
      resize.disconnect();
      dark.removeEventListener("change", make);
      plot.current.destroy();
      plot.current = null;
    };
  }, [seconds, height]);
  useEffect(() => {
    plot.current?.setData(data(series, points));
    if (out.current) out.current.textContent = shown.current();
  }, [points]);
  const now = points.at(-1);
  const told = now && !now.gap ? series.map(({ name, of }) => `${show(of(now) ?? 0)} ${name}`).join(", ") : "nothing yet";
  return html`<figure class="chart" id=${id}>
    <figcaption class="legend">
      ${series.map(({ name, color: c, dash }) => html`<span><i class="key" data-color=${c} data-dash=${dash ? "yes" : "no"}></i>${name}</span>`)}
      <output ref=${out}></output>
    </figcaption>
    <div ref=${place} class="plot" role="img" data-empty=${points.length < 2 ? "yes" : "no"} aria-label=${`${title}; now ${told} ${unit}`}></div>
  </figure>`;
}

const data = (series, points) => [
  points.map(({ at }) => at / 1000),
  ...series.map(({ of }) => points.map((point) => (point.gap ? null : of(point)))),
];

/** Rows of [name, number]: a bar each, longest first as they come. */
export function Bars({ rows, label, level = "fine" }) {
  const most = Math.max(1, ...rows.map(([, n]) => n));
  return html`<ul class="bars plain" aria-label=${label}>${rows.map(([name, n, kind]) => html`<li>
    <span>${name}</span><span class="meter" data-level=${kind ?? level}><i style=${{ width: `${(100 * n) / most}%` }}></i></span>
    <span class="number">${compact(n)}</span></li>`)}</ul>`;
}

/** Stacked columns over time; `series`: [[name, color]], `rows`: [{name, values}]. */
export function Columns({ rows, series, label }) {
  const most = Math.max(1, ...rows.map(({ values }) => values.reduce((a, b) => a + b, 0)));
  const wide = 1000 / Math.max(1, rows.length);
  return html`<figure class="chart columns-chart"><figcaption class="legend">${series.map(([name, c]) => html`<span><i class="key" data-color=${c}></i>${name}</span>`)}<output>at most ${compact(most)} in one step</output></figcaption>
    <svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" aria-label=${label}>${rows.map(({ name, values }, place) => {
      let top = 200;
      return html`<g><title>${`${name}: ${values.map((n, i) => `${n} ${series[i][0]}`).join(", ")}`}</title>
        <rect class="hit" x=${place * wide} y="0" width=${wide} height="200" />
        ${values.map((n, i) => {
          const high = (196 * n) / most;
          top -= high;
          return n > 0 && html`<rect data-color=${series[i][1]} x=${place * wide + wide * 0.1} y=${top} width=${wide * 0.8} height=${high} />`;
        })}</g>`;
    })}</svg>
    <div class="axis quiet"><span>${rows[0]?.name}</span><span>${rows.at(-1)?.name}</span></div></figure>`;
}
