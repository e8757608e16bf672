// Reports: what happened in a period, to read here or to take away.

import { Address, Card, Facts, Fault, html, save, useEffect, useState } from "../lib/ui.js";
import { call, fetchFile } from "../lib/agent.js";
import { compact, count, moment, sentence, service, size, target, words } from "../lib/format.js";
import { Bars, Columns } from "../parts/chart.js";
import { deed } from "../parts/deeds.js";
import { Harm } from "../parts/harm.js";

const PERIODS = { "1d": "day", "7d": "7 days", "30d": "30 days", "90d": "90 days" };
const FORMATS = { pdf: "PDF", html: "HTML", json: "JSON" };

export function Reports() {
  const [since, setSince] = useState("7d");
  const [told, setTold] = useState(null);
  const [wrong, setWrong] = useState("");
  const [said, setSaid] = useState("");
  const ask = (format) => ({ method: "POST", body: { since, format } });
  useEffect(() => {
    let wanted = true;
    setWrong("");
    call("/reports", ask("json")).then((report) => wanted && setTold(report), (error) => wanted && setWrong(error.message));
    return () => (wanted = false);
  }, [since]);
  const take = (format) => async () => {
    setSaid("Gathering…");
    try {
      save(await fetchFile("/reports", ask(format)), `sentinel-${new Date().toISOString().slice(0, 10)}-${since}.${format}`);
      setSaid("It is among your downloads.");
    } catch (error) {
      setSaid(error.message);
    }
  };
  return html`<${Card} title="Report" id="report">
      <form class="filters" onSubmit=${(e) => e.preventDefault()}>
        <label>Of the last<select id="r-since" value=${since} onChange=${(e) => setSince(e.target.value)}>${Object.entries(PERIODS).map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select></label>
        <span class="take"><span class="quiet">Take it away as</span>${Object.entries(FORMATS).map(([format, name]) => html`<button type="button" class="small" id=${`r-${format}`} onClick=${take(format)}>${name}</button>`)}
          <span class="quiet" id="report-said" role="status">${said}</span></span>
      </form>
      ${!told && !wrong && html`<p class="empty">Gathering…</p>`}
      <${Fault} text=${wrong} />
    </${Card}>
    ${told && html`<${Figures} of=${told} />`}
    <${Kept} />
    <${Harm} />`;
}

/** Those that were made by themselves. */
function Kept() {
  const [told, setTold] = useState(null);
  const [wrong, setWrong] = useState("");
  useEffect(() => {
    call("/reports").then(setTold, (error) => setWrong(error.message));
  }, []);
  if (!told && !wrong) return null;
  return html`<${Card} title="Made by themselves" id="kept">
    <${Fault} text=${wrong} />
    ${told && (told.items.length
      ? html`<div class="wide" tabindex="0" role="region" aria-label="Reports made by themselves"><table class="evidence"><thead><tr>${["From", "Report", "Size", "Made"].map((text) => html`<th scope="col">${text}</th>`)}</tr></thead>
        <tbody>${told.items.slice(0, 100).map((one) => html`<tr><td class="quiet">${one.day}</td><th scope="row"><a href=${`/reports/${encodeURIComponent(one.name)}`} download=${one.name}>${one.name}</a></th><td>${size(one.bytes)}</td><td class="quiet">${moment(one.made_at)}</td></tr>`)}</tbody></table></div>`
      : html`<p class="empty">None yet: <code>reports.schedule</code> in the settings makes them.</p>`)}</${Card}>`;
}

const BEGUN = [["real", "--dropped"], ["simulated", "--would"]];
const SEVERITIES = [["high", "--dropped"], ["medium", "--would"], ["low", "--quiet"]];

function Figures({ of: report }) {
  const { alerts, decisions, actions, response, vetoes, audit, investigations } = report;
  const all = alerts.all.high + alerts.all.medium + alerts.all.low;
  const done = actions.reduce((sum, a) => sum + a.packets, 0);
  const would = actions.reduce((sum, a) => sum + a.would_packets, 0);
  const ms = (times, part) => (times ? `${count(times[part])} ms` : "–");
  return html`<dl class="tiles wide-tiles" id="figures">
      <div class="tile"><dt>Alerts</dt><dd>${compact(all)}</dd><dd class="unit">${compact(alerts.all.high)} high, ${compact(alerts.all.medium)} medium, ${compact(alerts.all.low)} low</dd></div>
      <div class="tile"><dt>Decisions</dt><dd>${compact(decisions.reduce((sum, d) => sum + d.count, 0))}</dd><dd class="unit">${compact(decisions.filter((d) => d.origin === "operator").reduce((sum, d) => sum + d.count, 0))} by operators</dd></div>
      <div class="tile"><dt>Packets met</dt><dd>${compact(done)}</dd><dd class="unit">${compact(would)} more only counted</dd></div>
      <div class="tile"><dt>Evidence to entry</dt><dd>${ms(response.to_outcome, "p50_ms")}</dd><dd class="unit">99 of 100 within ${ms(response.to_outcome, "p99_ms")}</dd></div>
      <div class="tile"><dt>Investigated</dt><dd>${compact(investigations.total)}</dd><dd class="unit">${compact(investigations.by_risk.high)} of high risk</dd></div>
      <div class="tile"><dt>Audit</dt><dd>${audit.broken ? "Broken" : "Whole"}</dd><dd class="unit">${compact(audit.of_period)} lines of this time</dd></div>
    </dl>
    <${Card} title="Alerts over time" id="over-time"><${Columns} label="Alerts over time by severity" series=${SEVERITIES}
      rows=${alerts.over_time.map((step) => ({ name: moment(step.at), values: SEVERITIES.map(([severity]) => step[severity]) }))} /></${Card}>
    <${Card} title="Actions over time" id="actions-over-time"><${Columns} label="Actions begun over time, real and simulated" series=${BEGUN}
      rows=${report.actions_over_time.map((step) => ({ name: moment(step.at), values: BEGUN.map(([worth]) => step[worth]) }))} /></${Card}>
    <div class="charts">
      <${Card} title="By detector" id="by-detector"><${Ranked} rows=${alerts.by_detector.map((d) => [words(d.name), d.high + d.medium + d.low])} /></${Card}>
      <${Card} title="By kind of attack" id="by-family"><${Ranked} rows=${alerts.families.map(({ name, count: n }) => [words(name), n])} /></${Card}>
      <${Card} title="Sources that raised most" id="by-source"><${Ranked} rows=${alerts.sources.map(({ ip, country, network, count: n }) => [html`<${Address} of=${ip} /> <span class="quiet">${[country, network].filter(Boolean).join(", ")}</span>`, n])} /></${Card}>
      <${Card} title="Services named most" id="by-target"><${Ranked} rows=${alerts.targets.map(({ count: n, ...where }) => [service(where), n])} /></${Card}>
      <${Card} title="What was done" id="by-action"><${Ranked} rows=${actions.map((a) => [`${deed(a.kind).noun}, ${a.simulated ? "simulated, " : ""}${words(a.status).toLowerCase()}`, a.count])} /></${Card}>
      <${Card} title="Refused by guard" id="by-guard"><${Ranked} rows=${vetoes.map(({ name, count: n }) => [words(name), n])} /></${Card}>
    </div>
    <${Card} title="Taken back before its time" id="taken-back">${report.taken_back.length
      ? html`<div class="wide" tabindex="0" role="region" aria-label="Taken back"><table class="evidence"><thead><tr>${["When", "Whom", "What", "How it ended", "Why it had been taken"].map((text) => html`<th scope="col">${text}</th>`)}</tr></thead>
        <tbody>${report.taken_back.map((one) => html`<tr><td class="quiet">${one.at && moment(one.at)}</td><th scope="row">${target(one.target)}</th><td>${deed(one.kind).noun}${one.simulated ? " (simulated)" : ""}</td>
          <td>${words(one.status)}${one.outcome ? `: ${one.outcome}` : ""}</td><td class="quiet">${one.reason}</td></tr>`)}</tbody></table></div>`
      : html`<p class="empty">Nothing was.</p>`}
      <div class="inside"><${Facts} of=${[["Audit", audit.broken ? sentence(audit.broken) : `${count(audit.intact)} lines, ending in `], ["", html`<code>${audit.head}</code>`], ["Records since", report.records_since && moment(report.records_since)]]} /></div></${Card}>`;
}

const Ranked = ({ rows }) => (rows.length ? html`<${Bars} label="Most first" rows=${rows.slice(0, 10)} />` : html`<p class="empty">Nothing in this time.</p>`);
