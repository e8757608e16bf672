// The model: what it is, what it was made of, and how it has been here.

import { Card, Chip, Facts, html } from "../lib/ui.js";
import { call } from "../lib/agent.js";
import { count, measured, moment, percent, precise, sentence, words } from "../lib/format.js";
import { Bars } from "../parts/chart.js";
import { usePoll } from "../lib/poll.js";
import { Learning } from "../parts/learning.js";

export function Model() {
  const [model, wrong] = usePoll(() => call("/model"), 15_000);
  return html`<div class="columns">
    <div class="side"><${Learning} /><${Drift} model=${model} /></div>
    <div class="side">${!model || !model.loaded
      ? html`<${Card} title="Card" id="card"><p class="empty">${wrong || (model ? sentence(model.why) : "Loading…")}</p></${Card}>`
      : html`<${ModelCard} model=${model} />`}</div>
  </div>`;
}

function ModelCard({ model }) {
  const { training, schema } = model;
  return html`<${Card} title="Card" id="card" tools=${html`<${Chip} kind=${model.calibrated ? "enforced" : "vetoed"}>${model.calibrated ? "Calibrated for this network" : "Not calibrated for this network"}</${Chip}>`}>
      <div class="inside"><${Facts} of=${[
        ["Name", words(model.name)], ["Version", model.version], ["SHA-256", html`<code>${model.sha256}</code>`], ["Made of", model.kind],
        ["Sees", model.variant === "both" ? "both directions" : "what comes in"], ["Trees", count(model.trees)], ["Support vectors", count(model.support_vectors)],
        ["Families it tells apart", model.families.map(words).join(", ")],
      ]} />
      <h3>Levels</h3>
      <table class="evidence"><thead><tr>${["Level", "Benign flows that may reach it", "Score", "Set by", ""].map((text) => (text ? html`<th scope="col">${text}</th>` : html`<td></td>`))}</tr></thead>
        <tbody>${model.levels.map((level) => html`<tr><th scope="row">${words(level.name)}</th><td class="number">${percent(level.alpha)}</td>
          <td class="number">${level.threshold === null ? "never" : level.threshold.toFixed(3)}</td><td>${count(level.benign)} flows of ${level.calibrated ? "this network" : "elsewhere"}</td>
          <td class="quiet">${level.missing ? `${count(level.missing)} more are needed` : ""}</td></tr>`)}</tbody></table>
      </div></${Card}>
    <${Card} title="What it was measured at" id="measured"><div class="inside"><${Facts} of=${Object.entries(model.metrics).map(([name, value]) => [words(name), precise(value)])} /></div></${Card}>
    <${Card} title="What it was made from" id="training"><div class="inside">
      <${Facts} of=${[["Rows", count(training.rows)], ["Seed", training.seed], ["SHA-256", html`<code>${training.digest}</code>`], ...Object.entries(training.parameters).map(([name, value]) => [words(name), value])]} />
      <table class="evidence"><thead><tr><th scope="col">Origin</th><th scope="col">Rows</th><th scope="col">Published</th><th scope="col">Licence</th></tr></thead>
        <tbody>${training.origins.map((origin) => html`<tr><th scope="row">${origin.name}</th><td>${Object.entries(origin.rows).map(([family, n]) => `${count(n)} ${words(family).toLowerCase()}`).join(", ")}</td>
          <td class="quiet">${origin.source}</td><td class="quiet">${origin.licence}</td></tr>`)}</tbody></table>
      </div></${Card}>
    <${Card} title="What it sees of a flow" id="features" count=${schema.features.length}><div class="wide" tabindex="0" role="region" aria-label="Features"><table class="evidence">
      <thead><tr><th scope="col">Feature</th><th scope="col">Unit</th><th scope="col">Meaning</th></tr></thead>
      <tbody>${schema.features.map((feature) => html`<tr><th scope="row"><code>${feature.name}</code></th><td class="quiet">${feature.unit}</td><td class="quiet">${feature.meaning}</td></tr>`)}</tbody></table></div></${Card}>`;
}

/** Above a quarter a feature has moved (PSI). */
const MOVED = 0.25;

function Drift({ model }) {
  const drift = model?.drift;
  return html`<${Card} title="Drift" id="drift">${drift
    ? html`<p class="says">${drift.alarm ? html`<strong>This network has changed. </strong>` : "As it was learnt. "}${count(drift.flows)} flows, ${moment(drift.at)}. ${sentence(drift.advice)}</p>
      <${Bars} label="Population stability index by feature" rows=${drift.moved.map(([name, psi]) => [`${name} ${measured(psi)}`, psi, psi > MOVED ? "bad" : "fine"])} />`
    : html`<p class="empty">Nothing to compare with yet: this network is to be learnt first, and watched for an hour.</p>`}
  </${Card}>`;
}
