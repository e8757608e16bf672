// Why: a score taken apart, the numbers of a detector, and what is known of a source.

import { Ago, Chip, Facts, Shares, html } from "../lib/ui.js";
import { count, measured, moment, sentence, service, span, words } from "../lib/format.js";

/** Summands shown one by one; the others together. */
const SHARES = 12;

/** The model's score, its summands, and what would have made it another. */
export function Explanation({ of }) {
  const rest = of.shares.slice(SHARES);
  const rows = [["before anything is known", of.base, "what the model says of any flow"]];
  for (const { name, share, sentence: said } of of.shares.slice(0, SHARES)) rows.push([name, share, said]);
  if (rest.length) rows.push([`${rest.length} more`, rest.reduce((sum, s) => sum + s.share, 0), "smaller ones, together"]);
  return html`<h3>Why the model speaks</h3>
    <p>${sentence(of.summary)}</p>
    <${Shares} rows=${rows} />
    ${of.counterfactual && html`<p class="counterfactual"><strong>What would have been fine:</strong> ${sentence(of.counterfactual)}</p>`}`;
}

/** What made a detector fire: each number against its limit. */
export function Evidence({ of }) {
  return html`<table class="evidence">
    <thead><tr><th scope="col">Seen</th><th scope="col" class="number">Value</th><th scope="col" class="number">Limit</th><th scope="col">Unit</th><th scope="col">Against the limit</th></tr></thead>
    <tbody>${of.map((e) => {
      const times = e.threshold > 0 ? e.value / e.threshold : 1;
      return html`<tr><th scope="row">${words(e.name)}</th><td class="number">${measured(e.value)}</td><td class="number">${measured(e.threshold)}</td>
        <td class="quiet">${e.unit}</td><td>${measured(Number(times.toPrecision(3)))}× the limit</td></tr>`;
    })}</tbody></table>`;
}

/** The rest of what an alert says. */
export function AlertFacts({ alert }) {
  const { standing } = alert;
  return html`<${Facts} of=${[
    ["When", moment(alert.at)],
    ["Targets", alert.targets.map(service).join(", ")],
    ["Technique", alert.technique],
    ["Family", words(alert.family)],
    ["Score", measured(alert.score)],
    ["Kind of evidence", words(alert.class)],
    ["Seen by", alert.sensor],
    ["Its history here", standing && `${standing.proven ? "has proven its address" : "address not proven"}, ${count(standing.good_sessions)} good sessions${standing.good_for_ms ? ` over ${span(standing.good_for_ms)}` : ""}`],
    ["Name", html`<code>${alert.id}</code>`],
  ]} />`;
}

const STATES = {
  open: "Sources are being asked.",
  complete: "",
  local_only: "Nobody outside is asked about an address of this kind.",
  no_answer: "No source has answered. That says nothing for or against it.",
  no_sources: "No outside source is configured; this is what was seen here.",
};

const RESULTS = { fresh: "asked now", cache: "known already", stale: "known of old", feed: "on a list" };

/** An investigation: what it adds up to, who says what, and who contradicts whom. */
export function Found({ of: found }) {
  const { risk } = found;
  const place = [found.country, found.network].filter(Boolean).join(", ");
  return html`<div class="found">
    <h3>What is known of it</h3>
    <p class="quiet">${[STATES[found.state], place && `It is in ${place}.`].filter(Boolean).join(" ")}</p>
    <${Risk} of=${risk} />
    ${found.answers.length > 0 && html`<${Answers} of=${found.answers} />`}
  </div>`;
}

export function Risk({ of: risk }) {
  const rows = risk.parts.map((part) => [part.name, part.log_odds, part.sentence]);
  return html`<p>${sentence(risk.summary)}</p>
    <${Shares} rows=${rows} heads=${["Who", "Adds", "", "In words"]} />
    ${(risk.contradictions ?? []).map((text) => html`<p class="warned">They disagree: ${text}.</p>`)}`;
}

/** Each source's answer, with its age. */
export function Answers({ of }) {
  return html`<table class="evidence answers">
    <thead><tr>${["Source", "Says", "Score", "How", "Age", "Details"].map((text) => html`<th scope="col">${text}</th>`)}</tr></thead>
    <tbody>${of.map((answer) => {
      const told = answer.indicator;
      const says = told ? (told.spare ? "do not block" : words(told.verdict)) : words(answer.result);
      const detail = told ? [...(told.categories ?? []), ...Object.entries(told.raw ?? {}).map(([k, v]) => `${k} ${v}`)].join(", ") : answer.reason;
      const seen = told?.last_seen ? `last seen ${moment(told.last_seen)}` : "";
      const kind = told ? (told.spare ? "enforced" : told.verdict === "malicious" ? "failed" : told.verdict === "suspicious" ? "vetoed" : "over") : "over";
      return html`<tr><th scope="row">${answer.source}</th><td><${Chip} kind=${kind}>${says}</${Chip}></td>
        <td class="number">${told ? measured(told.score) : ""}</td>
        <td class="quiet">${told ? (RESULTS[answer.result] ?? words(answer.result)) : ""}</td>
        <td>${told && html`<${Ago} at=${told.asked_at} />`}</td>
        <td class="quiet">${[detail, seen].filter(Boolean).join("; ")}</td></tr>`;
    })}</tbody></table>`;
}

/** What guards and bounds said of a decision, in the order they were asked. */
export function Checks({ of }) {
  const kind = { passed: "enforced", softened: "vetoed" };
  return html`<h3>Guards and bounds</h3>
    <table class="evidence checks"><thead><tr><th scope="col">Asked</th><th scope="col">Said</th><th scope="col">Why</th></tr></thead>
    <tbody>${of.map((check) => html`<tr><th scope="row">${words(check.guard)}</th><td><${Chip} kind=${kind[check.verdict] ?? "over"}>${words(check.verdict)}</${Chip}></td>
      <td class="quiet">${check.reason}</td></tr>`)}</tbody></table>`;
}

/** The matrix cell a decision stands on, and its proof. */
export function Basis({ decision }) {
  const cell = decision.severity && decision.risk && `severity ${decision.severity} × risk ${decision.risk}`;
  return html`<${Facts} of=${[
    ["Matrix", cell],
    ["Rests on", decision.basis && words(decision.basis)],
    ["Peers that would lose service", decision.collateral],
    ["Refused because", decision.veto && `${words(decision.veto.guard)}: ${decision.veto.reason}`],
    ["Proof", html`<a href=${`/decisions/${encodeURIComponent(decision.id)}/proof`} download=${`proof-${decision.id}.json`}>what it followed from</a>, for <code>sentinel verify</code>`],
  ]} />`;
}
