// What happened around one address, in order: its flows, alerts, decisions and actions.

import { html, useEffect, useState } from "../lib/ui.js";
import { call, query } from "../lib/agent.js";
import { compact, moment, service, sentence, size, span, target, words } from "../lib/format.js";
import { on } from "../lib/live.js";
import { href } from "../lib/route.js";
import { deed, standing } from "./deeds.js";

/** Flows drawn. */
const FLOWS = 12;

/** Events drawn. */
const MOST = 40;

/** `mark` is the alert this page is about. */
export function Timeline({ ip, mark }) {
  const [events, setEvents] = useState(null);
  const [flows, setFlows] = useState([]);
  const look = async () => {
    const ask = (path) => call(query(path, { ip, limit: MOST })).then(({ items }) => items, () => []);
    const [alerts, decisions, actions, busy] = await Promise.all([ask("/alerts"), ask("/decisions"), ask("/actions"), ask("/flows/top")]);
    const told = [
      ...alerts.map((a) => ({ at: a.at, kind: "alert", text: a.summary, name: words(a.detector), link: href("alerts", a.id), here: a.id === mark?.id, severity: a.severity })),
      ...decisions.map((d) => ({ at: d.at, kind: "decision", text: d.reason, name: standing(d)[0] })),
      ...actions.filter((a) => a.outcome_at).map((a) => ({ at: a.outcome_at, kind: "action", text: a.outcome, name: `${deed(a.kind).noun} of ${target(a.target)}: ${words(a.status)}` })),
    ];
    told.sort((a, b) => (a.at < b.at ? 1 : -1));
    setEvents(told.slice(0, MOST));
    setFlows(busy);
  };
  useEffect(() => {
    look();
    let planned;
    const again = () => (planned ??= setTimeout(() => ((planned = undefined), look()), 1_000));
    const about = (net) => target(net) === target(ip);
    const offs = [
      on("alert", (a) => a.source === ip && again()),
      on("decision", (d) => about(d.target) && again()),
      on("action", (a) => about(a.target) && again()),
    ];
    return () => (clearTimeout(planned), offs.forEach((off) => off()));
  }, [ip]);
  return html`${flows.length > 0 && html`<h3>Its flows now</h3><${Flows} of=${flows} ip=${ip} />`}
    <h3>What happened around it</h3>
    ${events === null ? html`<p class="quiet">Loading…</p>` : html`<ol class="timeline">${events.map((event) => html`<li data-kind=${event.kind} data-severity=${event.severity} data-here=${event.here ? "yes" : "no"}>
      <time dateTime=${event.at} title=${event.at}>${moment(event.at)}</time>
      <span>${event.link && !event.here ? html`<a href=${event.link}>${event.name}</a>` : html`<strong>${event.name}</strong>`} <span class="quiet">${sentence(event.text)}</span></span></li>`)}</ol>`}
    ${events?.length === 0 && html`<p class="quiet">Nothing is kept of it.</p>`}`;
}

/** Flows as bars over time: when each began, and when it was heard last. */
export function Flows({ of, ip }) {
  const [from, to] = [Math.min(...of.map((f) => Date.parse(f.first_seen))), Math.max(...of.map((f) => Date.parse(f.last_seen)))];
  const whole = Math.max(1, to - from);
  return html`<table class="evidence flows"><thead><tr><th scope="col">Flow</th><th scope="col">When, within ${span(whole)}</th><th scope="col" class="number">Packets</th><th scope="col" class="number">Bytes</th></tr></thead>
    <tbody>${of.slice(0, FLOWS).map((flow) => {
      const [begun, lasted] = [Date.parse(flow.first_seen) - from, Date.parse(flow.last_seen) - Date.parse(flow.first_seen)];
      const other = flow.source === ip ? flow.destination : flow.source;
      const way = flow.source === ip ? "to" : "from";
      return html`<tr><th scope="row">${way} ${service({ ip: other, port: way === "to" ? flow.destination_port : flow.source_port, proto: flow.proto })}</th>
        <td><span class="span" role="img" aria-label=${`from ${moment(flow.first_seen)}, for ${span(lasted)}`}><i style=${{ left: `${(97 * begun) / whole}%`, width: `${Math.max(3, (100 * lasted) / whole)}%` }}></i></span></td>
        <td class="number">${compact(flow.packets_sent + flow.packets_received)}</td><td class="number">${size(flow.bytes_sent + flow.bytes_received)}</td></tr>`;
    })}</tbody></table>
    ${of.length > FLOWS && html`<p class="quiet">The ${FLOWS} busiest of them; <code>sentinel top</code> shows more.</p>`}`;
}
