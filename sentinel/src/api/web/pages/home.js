// Home: how it goes, right now.

import { Card, Chip, Meter, Severity, html, useEffect, useState } from "../lib/ui.js";
import { call } from "../lib/agent.js";
import { bits, compact, count, sentence, words } from "../lib/format.js";
import { health, onlyCounts, rates, stats } from "../lib/live.js";
import { useRows } from "../lib/rows.js";
import { href } from "../lib/route.js";
import { Chart } from "../parts/chart.js";
import { AlertLine, DecisionLine } from "../parts/lines.js";
import { List, Total } from "../parts/list.js";
import { Learning } from "../parts/learning.js";
import { inForce, useOutcomes } from "../parts/outcomes.js";

/** Rows of the short lists. */
const FEW = 8;

export function Home() {
  return html`<section class="traffic" aria-label="Traffic">
      <${Traffic} /><${Tiles} /><${Kernel} />
    </section>
    <div class="columns">
      <div class="side"><${NewestAlerts} /><${Parts} /></div>
      <div class="side"><${InForce} /><${Learning} /></div>
    </div>`;
}

const SERIES = [
  { name: "passed", of: (p) => p.passed, color: "--passed", filled: true },
  { name: "would be dropped", of: (p) => p.would, color: "--would", dash: [5, 4] },
  { name: "dropped", of: (p) => p.dropped, color: "--dropped", filled: true },
];

function Traffic() {
  return html`<${Card} title="Traffic" id="traffic"><${Chart} id="chart" title="Packets per second over the last two minutes" series=${SERIES} points=${rates.value} /></${Card}>`;
}

function Tile({ id, name, value, unit, level }) {
  return html`<div class="tile" data-level=${level}><dt>${name}</dt><dd id=${id}>${value}</dd><dd class="unit">${unit}</dd></div>`;
}

function Tiles() {
  const told = stats.value;
  const rate = rates.value.at(-1);
  const counts = onlyCounts.value;
  const totals = told?.totals ?? {};
  const [volume, unit] = bits(rate?.bits ?? 0);
  const ring = totals.event_lost ?? 0;
  const inside = told?.lost.reduce((sum, { items }) => sum + items, 0) ?? 0;
  const dropped = (totals.drop_v4 ?? 0) + (totals.drop_v6 ?? 0) + (totals.drop_hidden ?? 0);
  const would = (totals.would_drop ?? 0) + (totals.would_limit ?? 0);
  const known = rate && !rate.gap;
  return html`<dl class="tiles" id="tiles">
    <${Tile} id="t-passed" name="Passed" value=${known ? compact(rate.passed) : "–"} unit="packets/s" />
    <${Tile} id="t-dropped" name=${counts ? "Would drop" : "Dropped"} value=${known ? compact(counts ? rate.would : rate.dropped) : "–"} unit="packets/s" />
    <${Tile} id="t-bits" name="Volume in" value=${known ? volume : "–"} unit=${unit} />
    <${Tile} id="t-flows" name="Flows" value=${told ? compact(told.flows_active) : "–"} unit=${told ? `active, ${compact(told.sources_active)} sources` : "active"} />
    <${Tile} id="t-lost" name="Events lost" value=${told ? compact(ring + inside) : "–"} level=${ring + inside ? "warn" : "fine"}
      unit=${ring + inside ? `${compact(ring)} ring, ${compact(inside)} agent` : "since start"} />
    <${Tile} id="t-total" name=${counts ? "Would have dropped" : "Dropped in all"} value=${told ? compact(counts ? would : dropped) : "–"} unit="packets since start" />
  </dl>`;
}

const MAPS = {
  BLOCK4: "Blocked IPv4", BLOCK6: "Blocked IPv6", BLOCK_NET4: "Prefixes IPv4", BLOCK_NET6: "Prefixes IPv6",
  ALLOW4: "Allowed IPv4", ALLOW6: "Allowed IPv6", FLOWS: "Flows", EVENTS: "Event ring",
};

/** Verdicts beyond pass and drop, and the counters that make them up. */
export const VERDICTS = [
  ["Dropped over a rate limit", ["drop_limit"]],
  ["Dropped over the kernel’s own limit", ["drop_reflex"]],
  ["Dropped by lists", ["drop_list"]],
  ["Sent to the honeypot", ["redirect_v4", "redirect_v6"]],
  ["Dropped, as the honeypot cannot be reached", ["redirect_failed"]],
  ["SYNs answered with a cookie", ["answer_v4", "answer_v6"]],
  ["Dropped on their way out", ["egress_drop_v4", "egress_drop_v6"]],
  ["Would be dropped over a limit", ["would_limit"]],
  ["Would be sent to the honeypot", ["would_redirect"]],
  ["Would be dropped on their way out", ["egress_would_drop"]],
  ["Thresholds crossed", ["reflex_raised"]],
  ["Returned on probation", ["returned"]],
];

function Kernel() {
  const told = stats.value;
  const verdicts = told ? VERDICTS.map(([name, keys]) => [name, keys.reduce((sum, key) => sum + (told.totals[key] ?? 0), 0)]).filter(([, n]) => n) : [];
  return html`<${Card} title="Kernel" id="kernel" kind="kernel">
    <ul id="interfaces" class="plain">${told?.interfaces.length ? told.interfaces.map(Interface) : html`<li class="quiet">No interface is attached yet.</li>`}</ul>
    ${verdicts.length > 0 && html`<ul id="verdicts" class="verdicts plain">${verdicts.map(([name, n]) => html`<li><span>${name}</span><span class="number" title=${`${count(n)} since the start`}>${compact(n)}</span></li>`)}</ul>`}
    <ul id="maps" class="maps plain">${Object.entries(told?.maps ?? {}).map(([name, { entries, capacity }]) => html`<li key=${name}>
      <span>${MAPS[name] ?? words(name.toLowerCase())}</span><${Meter} part=${capacity ? entries / capacity : 0} label=${`${count(entries)} of ${count(capacity)}`} />
      <span class="quiet number" title=${`${count(entries)} of ${count(capacity)}`}>${compact(entries)} / ${compact(capacity)}</span></li>`)}</ul>
  </${Card}>`;
}

function Interface({ name, xdp_mode: xdp, egress }) {
  const kind = xdp === "native" ? "enforced" : xdp === "none" ? "failed" : "vetoed";
  const text = xdp === "none" ? "not attached" : xdp === "tc" ? "tc ingress" : `XDP ${xdp}`;
  return html`<li key=${name} class="line"><span class="address">${name}</span><${Chip} kind=${kind}>${text}</${Chip}><span class="quiet">${egress ? "both directions" : "incoming only"}</span></li>`;
}

function NewestAlerts() {
  const rows = useRows({ path: "/alerts", kind: "alert", limit: FEW, short: true });
  const load = useOutcomes();
  useEffect(() => void load(rows.view.value), [rows.view.value]);
  return html`<${Card} title=${html`Alerts <${Total} rows=${rows} />`} id="alerts" tools=${html`<a class="all" href="#/alerts">All alerts</a>`}>
    <${Severities} total=${rows.total.value} />
    <${List} id="alert-list" rows=${rows} more=${false} row=${(alert) => html`<${AlertLine} alert=${alert} />`}
      empty="No alerts. Sentinel speaks up when a source scans, floods or guesses passwords." />
  </${Card}>`;
}

/** How many of the last day were how severe; each leads to them. */
function Severities({ total }) {
  // Its place is taken from the start: rows below must not move under the pointer.
  const [counts, setCounts] = useState([["high", null], ["medium", null], ["low", null]]);
  const ask = (severity) => call(`/alerts?severity=${severity}&since=1d&limit=1`).then(({ total: n }) => [severity, n]);
  useEffect(() => {
    // Soon, however much happens at once.
    const later = setTimeout(() => Promise.all(["high", "medium", "low"].map(ask)).then(setCounts, () => {}), 400);
    return () => clearTimeout(later);
  }, [total]);
  return html`<ul class="severities plain" id="severities" aria-label="Alerts of the last day by severity">${counts.map(([severity, n]) => html`<li key=${severity}>
    <a href=${href("alerts", "", { severity, since: "1d" })}><${Severity} of=${severity} /><b>${n === null ? "–" : compact(n)}</b></a></li>`)}<li class="quiet">in the last day</li></ul>`;
}

function InForce() {
  const rows = useRows({ path: "/decisions", kind: "decision", filters: { active: "true" }, fits: inForce, limit: FEW, short: true });
  const [watched, setWatched] = useState(0);
  const total = rows.total.value;
  useEffect(() => {
    const look = () => call("/decisions?watched=true&limit=1").then(({ total: n }) => setWatched(n), () => {});
    const later = setTimeout(look, 300);
    return () => clearTimeout(later);
  }, [total]);
  const tools = html`<span class="quiet" id="watched" title="Over, and watched for a return">${watched ? `${count(watched)} on probation` : ""}</span><a class="all" href="#/decisions">All decisions</a>`;
  return html`<${Card} title=${html`In force <${Total} rows=${rows} />`} id="blocks" tools=${tools}>
    <${List} id="block-list" rows=${rows} more=${false} row=${(decision) => html`<${DecisionLine} decision=${decision} />`} empty="Nobody is blocked, limited or redirected." />
  </${Card}>`;
}

/** Every part of the agent, and what is wrong with it. */
function Parts() {
  const parts = Object.entries(health.value?.components ?? {});
  return html`<${Card} title="Health" id="health">
    ${parts.length ? html`<ul class="plain parts">${parts.map(([name, condition]) => html`<li key=${name}>
      <span class="line"><strong>${words(name)}</strong><${Chip} kind=${condition.state === "ok" ? "enforced" : "vetoed"}>${condition.state === "ok" ? "Fine" : "Degraded"}</${Chip}></span>
      <span class="why">${condition.state === "ok" ? condition.detail : `${condition.cause}. ${sentence(condition.mend)}`}</span></li>`)}</ul>` : html`<p class="empty">Loading…</p>`}
  </${Card}>`;
}
