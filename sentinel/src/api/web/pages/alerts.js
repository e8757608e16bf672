// Alerts: find one, and see why, what was found out, and what was done.

import { Address, Ago, Card, Chip, Facts, Fault, Severity, html, useEffect, useState } from "../lib/ui.js";
import { call } from "../lib/agent.js";
import { moment, target, words } from "../lib/format.js";
import { on } from "../lib/live.js";
import { filtersOf, href, refilter, route } from "../lib/route.js";
import { useRows } from "../lib/rows.js";
import { Allow, Block, Undo, guardOf } from "../parts/acts.js";
import { counted, standing } from "../parts/deeds.js";
import { AlertLine } from "../parts/lines.js";
import { AlertFacts, Basis, Checks, Evidence, Explanation, Found } from "../parts/explain.js";
import { Filters, List, Since, Total, Whom } from "../parts/list.js";
import { outcomes, useOutcomes } from "../parts/outcomes.js";
import { Timeline } from "../parts/timeline.js";

const DETECTORS = [
  "port_scan", "slow_scan", "syn_flood", "packet_flood", "brute_force", "distributed_brute_force", "beacon", "dns_tunnel", "icmp_tunnel",
  "upload", "lateral_movement", "amplification", "slow_dos", "model", "baseline", "feed", "probation",
];

export function Alerts() {
  const { name } = route.value;
  const filters = filtersOf("severity", "detector", "ip", "since");
  // What is new is never too old; whether an address lies in a prefix the agent knows.
  const fits = (alert) => {
    if (filters.severity && !filters.severity.split(",").includes(alert.severity)) return false;
    if (filters.detector && alert.detector !== filters.detector) return false;
    return filters.ip ? null : true;
  };
  const rows = useRows({ path: "/alerts", kind: "alert", filters, fits });
  const load = useOutcomes();
  useEffect(() => void load(rows.view.value), [rows.view.value]);
  return html`<div class=${name ? "split" : "split alone"}>
    <${Card} title=${html`Alerts <${Total} rows=${rows} />`} id="alerts">
      <${Filters} set=${refilter}>
        <label>Severity<select name="severity" value=${filters.severity}><option value="">all</option><option value="high">high</option>
          <option value="high,medium">medium and high</option><option value="medium">medium</option><option value="low">low</option></select></label>
        <label>Detector<select name="detector" value=${filters.detector}><option value="">all</option>${DETECTORS.map((d) => html`<option value=${d}>${words(d)}</option>`)}</select></label>
        <${Whom} value=${filters.ip} /><${Since} value=${filters.since} />
      </${Filters}>
      <${List} id="alert-list" rows=${rows} row=${(alert) => html`<${AlertLine} alert=${alert} chosen=${alert.id === name} />`}
        empty=${Object.values(filters).some(Boolean) ? "No alert is like that." : "No alerts. Sentinel speaks up when a source scans, floods or guesses passwords."} />
    </${Card}>
    ${name && html`<${Detail} key=${name} id=${name} known=${rows.view.value.find((alert) => alert.id === name)} />`}
  </div>`;
}

/** One alert, whole. */
function Detail({ id, known }) {
  const [alert, setAlert] = useState(known ?? null);
  const [found, setFound] = useState(null);
  const [wrong, setWrong] = useState("");
  useEffect(() => {
    if (!alert) call(`/alerts/${encodeURIComponent(id)}`).then(setAlert, (error) => setWrong(error.message));
    const look = () => call(`/investigations?alert=${encodeURIComponent(id)}&limit=1`).then(({ items }) => items[0] && setFound(items[0]), () => {});
    look();
    return on("investigation", (investigation) => investigation.alert === id && setFound(investigation));
  }, [id]);
  const load = useOutcomes();
  useEffect(() => void (alert && load([alert])), [alert]);
  const close = html`<a class="all" id="detail-close" href=${href("alerts", "", Object.fromEntries(route.value.query))}>Close</a>`;
  if (!alert) return html`<${Card} title="Alert" id="detail" tools=${close}>${wrong ? html`<${Fault} text=${wrong} />` : html`<p class="empty">Loading…</p>`}</${Card}>`;
  const decision = outcomes.value.get(id);
  const guard = alert.source && guardOf(alert.source);
  return html`<${Card} title=${html`<${Severity} of=${alert.severity} /> ${words(alert.detector)}`} id="detail" tools=${close}>
    <div class="inside">
      <p class="line"><${Address} of=${alert.source} /><${Ago} at=${alert.at} />
        ${guard && html`<${Chip} kind="enforced" title=${guard.reason}>Protected: ${words(guard.guard)}</${Chip}>`}
        <span class="end">${alert.source && html`<${Block} whom=${alert.source} /><${Allow} whom=${alert.source} />`}</span></p>
      <p class="summary">${alert.summary}</p>
      ${decision && html`<${Decided} decision=${decision} />`}
      ${alert.explanation && html`<${Explanation} of=${alert.explanation} />`}
      <h3>What was seen</h3>
      <${Evidence} of=${alert.evidence} />
      <${AlertFacts} alert=${alert} />
      ${alert.source && html`<${Timeline} ip=${alert.source} mark=${alert} />`}
      ${found && html`<${Found} of=${found} />`}
    </div>
  </${Card}>`;
}

/** What was done about it, and why no more or less. */
export function Decided({ decision }) {
  const [word, kind] = standing(decision);
  return html`<div class="decided"><h3>What was done</h3>
    <p class="line"><${Chip} kind=${kind}>${word}</${Chip}><span>${target(decision.target)}</span><span class="quiet">${moment(decision.at)}</span>
      <span class="end"><${Undo} decision=${decision} /></span></p>
    <p class="why">${decision.reason}</p>
    ${decision.status === "active" && html`<p class="small"><span class="hits">${counted(decision)}</span></p>`}
    <${Basis} decision=${decision} />
    ${decision.checks?.length > 0 && html`<${Checks} of=${decision.checks} />`}
    <${Facts} of=${[["Decision", html`<code>${decision.id}</code>`]]} />
  </div>`;
}
