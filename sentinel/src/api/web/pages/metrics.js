// Metrics: the last minutes as lines, and the counters behind them.

import { Card, Meter, html } from "../lib/ui.js";
import { fetchText } from "../lib/agent.js";
import { bits, compact, count, words } from "../lib/format.js";
import { rates, stats } from "../lib/live.js";
import { Bars, Chart } from "../parts/chart.js";
import { usePoll } from "../lib/poll.js";
import { VERDICTS } from "./home.js";

const SECONDS = 600;

const CHARTS = [
  { id: "m-packets", title: "Packets", unit: "packets/s", series: [
    { name: "passed", of: (p) => p.passed, color: "--passed", filled: true },
    { name: "would be dropped", of: (p) => p.would, color: "--would", dash: [5, 4] },
    { name: "dropped", of: (p) => p.dropped, color: "--dropped", filled: true },
  ] },
  { id: "m-bits", title: "Volume in", unit: "bit/s", show: (n) => bits(n).join(" "), series: [{ name: "coming in", of: (p) => p.bits, color: "--passed", filled: true }] },
  { id: "m-flows", title: "Flows and sources", unit: "", series: [
    { name: "flows", of: (p) => p.flows, color: "--passed", filled: true },
    { name: "sources", of: (p) => p.sources, color: "--violet", dash: [5, 4] },
  ] },
  { id: "m-lost", title: "Events lost", unit: "events/s", series: [{ name: "lost", of: (p) => p.lost, color: "--dropped", filled: true }] },
];

export function Metrics() {
  return html`<div class="charts">${CHARTS.map(({ id, title, ...chart }) => html`<${Card} key=${id} id=${`${id}-card`} title=${title}>
      <${Chart} id=${id} title=${title} points=${rates.value} seconds=${SECONDS} height=${180} ...${chart} /></${Card}>`)}</div>
    <div class="charts"><${Counted} /><${Verdicts} /><${Interfaces} /></div>`;
}

/** `name{label="value"} number` as [name, {label: value}, number]. */
export function parse(text) {
  return text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => {
    const [, name, inside = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    const labels = Object.fromEntries([...inside.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, said]) => [key, said]));
    return [name, labels, Number(value)];
  });
}

/** The value below which a part of a histogram's observations lie, as its buckets tell it; null without any. */
export function quantile(samples, name, part) {
  const buckets = samples.filter(([n]) => n === `${name}_bucket`).map(([, { le }, n]) => [le === "+Inf" ? Infinity : Number(le), n]).sort(([a], [b]) => a - b);
  const all = buckets.at(-1)?.[1] ?? 0;
  return all ? (buckets.find(([, n]) => n >= all * part)?.[0] ?? null) : null;
}

const took = (seconds) => (seconds === null ? "–" : seconds === Infinity ? "beyond measure" : seconds < 1e-3 ? `${(seconds * 1e6).toPrecision(3)} µs` : seconds < 1 ? `${(seconds * 1e3).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`);

/** Families summed by one label. */
function by(samples, name, label) {
  const sums = new Map();
  for (const [n, labels, value] of samples) if (n === name) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
  return [...sums].filter(([, n]) => n > 0).sort(([, a], [, b]) => b - a);
}

const TIMES = [
  ["Detect to drop", "sentinel_detect_to_drop_seconds"],
  ["Score of a flow", "sentinel_flow_score_seconds"],
  ["Write to the store", "sentinel_store_write_seconds"],
];

function Counted() {
  const [samples, wrong] = usePoll(async () => parse(await fetchText("/metrics")), 5_000);
  if (!samples) return html`<${Card} title="Counted" id="counted"><p class="empty">${wrong || "Loading…"}</p></${Card}>`;
  const lists = [
    ["Alerts by detector", by(samples, "sentinel_alerts_total", "detector")],
    ["Decisions by action", by(samples, "sentinel_decisions_total", "action")],
    ["Refused by guard", by(samples, "sentinel_guard_vetoes_total", "guard")],
    ["Taken back because", by(samples, "sentinel_actions_reverted_total", "cause")],
    ["Events dropped in", by(samples, "sentinel_events_dropped_total", "stage")],
  ];
  return html`<${Card} title="How long it takes" id="times"><table class="evidence"><thead><tr><th scope="col">What</th><th scope="col" class="number">Half within</th><th scope="col" class="number">99 of 100 within</th></tr></thead>
      <tbody>${TIMES.map(([name, metric]) => html`<tr><th scope="row">${name}</th><td class="number">${took(quantile(samples, metric, 0.5))}</td><td class="number">${took(quantile(samples, metric, 0.99))}</td></tr>`)}</tbody></table></${Card}>
    <${Card} title="Counted since the start" id="counted">${lists.every(([, rows]) => !rows.length) ? html`<p class="empty">Nothing yet.</p>` : lists.filter(([, rows]) => rows.length).map(([title, rows]) => html`<h3>${title}</h3>
      <${Bars} label=${title} rows=${rows.slice(0, 12).map(([name, n]) => [words(name), n])} />`)}</${Card}>`;
}

function Verdicts() {
  const totals = stats.value?.totals ?? {};
  const rows = VERDICTS.map(([name, keys]) => [name, keys.reduce((sum, key) => sum + (totals[key] ?? 0), 0)]);
  return html`<${Card} title="Verdicts of the kernel" id="all-verdicts"><table class="evidence"><tbody>${rows.map(([name, n]) => html`<tr><th scope="row">${name}</th><td class="number">${count(n)}</td></tr>`)}</tbody></table></${Card}>`;
}

function Interfaces() {
  const told = stats.value;
  return html`<${Card} title="Interfaces and maps" id="all-interfaces">
    ${(told?.interfaces ?? []).map((i) => {
      const { counters: c } = i;
      return html`<h3>${i.name} <span class="quiet">${i.xdp_mode}${i.fallback ? `: ${i.fallback}` : ""}</span></h3><${Bars} label=${i.name} rows=${[
        ["passed", c.pass_v4 + c.pass_v6 + c.pass_other], ["dropped", c.drop_v4 + c.drop_v6 + c.drop_hidden, "bad"], ["would be dropped", c.would_drop, "warn"],
      ]} />`;
    })}
    <ul class="maps plain">${Object.entries(told?.maps ?? {}).map(([name, { entries, capacity }]) => html`<li key=${name}><span>${name}</span>
      <${Meter} part=${capacity ? entries / capacity : 0} label=${`${count(entries)} of ${count(capacity)}`} /><span class="quiet number">${compact(entries)} / ${compact(capacity)}</span></li>`)}</ul>
  </${Card}>`;
}
