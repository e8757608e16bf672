// One address: everything that is known of it, in one place.

import { Ago, Card, Chip, Fault, html, useEffect, useState } from "../lib/ui.js";
import { call, mayAct, query } from "../lib/agent.js";
import { sentence, words } from "../lib/format.js";
import { route } from "../lib/route.js";
import { useRows } from "../lib/rows.js";
import { Allow, Block } from "../parts/acts.js";
import { Answers, Risk } from "../parts/explain.js";
import { AlertLine, DecisionLine } from "../parts/lines.js";
import { List, Total } from "../parts/list.js";
import { Timeline } from "../parts/timeline.js";
import { useOutcomes } from "../parts/outcomes.js";

export function Source() {
  const ip = route.value.name;
  return html`<${Whole} key=${ip} ip=${ip} />`;
}

function Whole({ ip }) {
  const filters = { ip };
  const alerts = useRows({ path: "/alerts", kind: "alert", filters, fits: () => null, limit: 20 });
  const decisions = useRows({ path: "/decisions", kind: "decision", filters, fits: () => null, limit: 20 });
  const load = useOutcomes();
  useEffect(() => void load(alerts.view.value), [alerts.view.value]);
  return html`<div class="columns">
    <div class="side">
      <${Standing} ip=${ip} decisions=${decisions} />
      <${Card} title="Timeline" id="timeline"><div class="inside"><${Timeline} ip=${ip} /></div></${Card}>
    </div>
    <div class="side">
      <${Card} title=${html`Decisions <${Total} rows=${decisions} />`} id="blocks"><${List} id="block-list" rows=${decisions} row=${(d) => html`<${DecisionLine} decision=${d} />`} empty="No decision is about it." /></${Card}>
      <${Card} title=${html`Alerts <${Total} rows=${alerts} />`} id="alerts"><${List} id="alert-list" rows=${alerts} row=${(a) => html`<${AlertLine} alert=${a} />`} empty="No alert is about it." /></${Card}>
    </div>
  </div>`;
}

/** Whether it may be touched, and what sources outside say of it. */
function Standing({ ip, decisions }) {
  const [told, setTold] = useState(null);
  const [checked, setChecked] = useState(null);
  const [seen, setSeen] = useState([]);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState("");
  const look = () => call(query("/allowlist/check", { ip })).then(setTold, (error) => setWrong(error.message));
  useEffect(() => void look(), [decisions.view.value]);
  useEffect(() => void call(query("/sightings", { ip })).then(({ items }) => setSeen(items), () => {}), [ip]);
  const check = async () => {
    setBusy(true);
    setWrong("");
    try {
      setChecked(await call("/intel/check", { method: "POST", body: { ip } }));
    } catch (error) {
      setWrong(error.message);
    }
    setBusy(false);
  };
  return html`<${Card} title=${html`<span class="address">${ip}</span>`} id="source">
    <div class="inside">
      ${seen.map((one) => html`<p class="line neighbour"><${Chip} kind=${one.gone ? "over" : "enforced"}>${one.gone ? "Left" : "Neighbour"}</${Chip}><span>${[one.name, one.vendor].filter(Boolean).join(", ") || "Nameless"}, <span class="address">${one.mac}</span>, first seen by ${words(one.sensor)} <${Ago} at=${one.first_at} /></span></p>`)}
      ${told?.guards.map((guard) => html`<p class="line"><${Chip} kind="enforced">Protected</${Chip}><span>${words(guard.guard)}: ${sentence(guard.reason)}</span></p>`)}
      ${told && !told.protected && html`<p class="line"><${Chip} kind="over">No guard speaks for it</${Chip}><span class="end"><${Block} whom=${ip} /><${Allow} whom=${ip} done=${look} /></span></p>`}
      ${mayAct.value && !ip.includes("/") && html`<p class="deeds"><button type="button" class="small" id="ask" disabled=${busy} onClick=${check}>${busy ? "Asking…" : "Ask the sources"}</button></p>`}
      <${Fault} text=${wrong} />
      ${checked && html`<div class="found">${checked.special && html`<p class="quiet">${sentence(checked.special)}</p>`}<${Risk} of=${checked.risk} />${checked.answers.length > 0 && html`<${Answers} of=${checked.answers} />`}</div>`}
    </div>
  </${Card}>`;
}
