// Packets per second over the last two minutes.

import { $, compact, say } from "./format.js";

const WINDOW = 120_000;
const SERIES = [
  { key: "passed", color: "--passed", filled: true },
  { key: "would", color: "--would", dash: [5, 4] },
  { key: "dropped", color: "--dropped", filled: true },
];

const canvas = $("chart");
const samples = [];
let pointer = null;

/** Takes {at, passed, dropped, would} (rates) and forgets what left the window. What is known already is left out. */
export function add(sample) {
  if (samples.some((known) => !known.gap && known.at >= sample.at)) return;
  samples.push(sample);
  while (samples.length && samples[0].at < sample.at - WINDOW - 2_000) samples.shift();
}

/** A gap: what comes next is not joined to what was. */
export function restart() {
  if (samples.length) samples.push({ at: samples.at(-1).at, gap: true });
}

/** The smallest of 1, 2, 5 × 10ⁿ that holds `n`. */
function ceiling(n) {
  if (n <= 10) return 10;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= n);
}

export function draw() {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const color = (name) => style.getPropertyValue(name).trim();
  const area = { left: 46, right: width - 8, top: 8, bottom: height - 22 };
  const now = samples.at(-1)?.at ?? 0;
  const highest = Math.max(0, ...samples.filter((s) => !s.gap).flatMap((s) => [s.passed, s.dropped, s.would]));
  const top = ceiling(highest);
  const x = (at) => area.right - ((now - at) / WINDOW) * (area.right - area.left);
  const y = (value) => area.bottom - (value / top) * (area.bottom - area.top);

  pen.font = `11px ${style.fontFamily}`;
  pen.fillStyle = color("--quiet");
  pen.strokeStyle = color("--line");
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const part of [0, 0.5, 1]) {
    const line = Math.round(y(top * part)) + 0.5;
    pen.beginPath();
    pen.moveTo(area.left, line);
    pen.lineTo(area.right, line);
    pen.stroke();
    pen.fillText(compact(top * part), area.left - 8, line);
  }
  pen.textBaseline = "alphabetic";
  for (const [back, text, align] of [[WINDOW, "2 min ago", "left"], [WINDOW / 2, "1 min", "center"], [0, "now", "right"]]) {
    pen.textAlign = align;
    pen.fillText(text, x(now - back), height - 6);
  }
  if (samples.length < 2) {
    pen.textAlign = "center";
    pen.fillText("Collecting…", (area.left + area.right) / 2, (area.top + area.bottom) / 2);
    return;
  }
  pen.save();
  pen.beginPath();
  pen.rect(area.left, 0, area.right - area.left, area.bottom + 1);
  pen.clip();
  for (const series of SERIES) trace(pen, series, color(series.color), x, y, area.bottom);
  pen.restore();
  point(pen, x, y, area, color);
}

function trace(pen, series, color, x, y, floor) {
  const runs = [[]];
  for (const sample of samples) {
    if (sample.gap) runs.push([]);
    else runs.at(-1).push(sample);
  }
  if (!samples.some((s) => s[series.key] > 0) && series.key !== "passed") return;
  pen.strokeStyle = color;
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  pen.setLineDash(series.dash ?? []);
  for (const run of runs.filter((r) => r.length > 1)) {
    pen.beginPath();
    for (const sample of run) pen.lineTo(x(sample.at), y(sample[series.key]));
    pen.stroke();
    if (series.filled) {
      pen.lineTo(x(run.at(-1).at), floor);
      pen.lineTo(x(run[0].at), floor);
      pen.globalAlpha = 0.14;
      pen.fillStyle = color;
      pen.fill();
      pen.globalAlpha = 1;
    }
  }
  pen.setLineDash([]);
}

/** The values below the pointer, or the latest. */
function point(pen, x, y, area, color) {
  const real = samples.filter((s) => !s.gap);
  let chosen = null;
  if (pointer !== null && pointer >= area.left) {
    for (const sample of real) {
      if (!chosen || Math.abs(x(sample.at) - pointer) < Math.abs(x(chosen.at) - pointer)) chosen = sample;
    }
  }
  if (chosen) {
    pen.strokeStyle = color("--quiet");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x(chosen.at), area.top);
    pen.lineTo(x(chosen.at), area.bottom);
    pen.stroke();
    for (const { key, color: name } of SERIES) {
      pen.fillStyle = color(name);
      pen.beginPath();
      pen.arc(x(chosen.at), y(chosen[key]), 3, 0, 2 * Math.PI);
      pen.fill();
    }
  }
  const shown = chosen ?? real.at(-1);
  if (!shown) return;
  const text = `${compact(shown.passed)} passed, ${compact(shown.dropped)} dropped, ${compact(shown.would)} would be dropped`;
  say($("chart-at"), chosen ? `${new Date(chosen.at).toLocaleTimeString()} · ${text}` : "");
  canvas.setAttribute("aria-label", `Packets per second over the last two minutes; now ${text}`);
}

canvas.addEventListener("pointermove", (event) => {
  pointer = event.offsetX;
  draw();
});
canvas.addEventListener("pointerleave", () => {
  pointer = null;
  draw();
});
window.addEventListener("resize", draw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
