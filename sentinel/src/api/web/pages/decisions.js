// Decisions and the allowlist: add, import, look through, take back.

import { Address, Card, Fault, Sure, html, useEffect, useRef, useState } from "../lib/ui.js";
import { call, mayAct, query as ask, who } from "../lib/agent.js";
import { compact, count, moment, target, words } from "../lib/format.js";
import { guarded, lookAtGuards } from "../lib/live.js";
import { refilter, route } from "../lib/route.js";
import { useRows } from "../lib/rows.js";
import { AllowForm, BlockForm } from "../parts/acts.js";
import { DecisionLine } from "../parts/lines.js";
import { Filters, List, Since, Total, Whom } from "../parts/list.js";
import { inForce } from "../parts/outcomes.js";

/** Which decisions, and what the agent calls them. */
const WHICH = { "": { active: "true" }, over: { active: "false" }, watched: { watched: "true" }, simulated: { simulated: "true" }, all: {} };

export function Decisions() {
  const { query } = route.value;
  const which = WHICH[query.get("which") ?? ""] ? (query.get("which") ?? "") : "";
  const filters = { ...WHICH[which], ip: query.get("ip") ?? "", since: query.get("since") ?? "" };
  const fits = (decision) => {
    if (filters.ip || which === "watched") return null;
    return which === "" ? inForce(decision) : which === "over" ? decision.status !== "active" : which === "simulated" ? decision.simulated : true;
  };
  const rows = useRows({ path: "/decisions", kind: "decision", filters, fits });
  return html`<div class="columns">
    <${Card} title=${html`Decisions <${Total} rows=${rows} />`} id="blocks">
      <${Filters} set=${refilter}>
        <label>Which<select name="which" value=${which}><option value="">in force</option><option value="over">over</option><option value="watched">on probation</option>
          <option value="simulated">simulated</option><option value="all">all</option></select></label>
        <${Whom} value=${filters.ip} /><${Since} value=${filters.since} />
      </${Filters}>
      <${List} id="block-list" rows=${rows} row=${(decision) => html`<${DecisionLine} decision=${decision} />`} empty=${which === "" && !filters.ip ? "Nobody is blocked, limited or redirected." : "No decision is like that."} />
    </${Card}>
    <div class="side">
      ${mayAct.value && html`<${Card} title="Block, limit or redirect" id="blocking"><${BlockForm} whom=${query.get("block") ?? ""} /></${Card}>`}
      ${mayAct.value && html`<${Import} />`}
      <${NeverBlocked} />
    </div>
  </div>`;
}

const FORMATS = { csv: "CSV", json: "JSON", values: "One address a line" };

/** A list from a file, all or nothing. */
function Import() {
  const form = useRef(null);
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState(null);
  const [lines, setLines] = useState([]);
  const submit = async (event) => {
    event.preventDefault();
    const { file, format, duration, skip } = form.current.elements;
    setBusy(true);
    setSaid(null);
    setLines([]);
    try {
      const path = ask("/decisions/import", { format: format.value, duration: duration.value, skip_bad: skip.checked ? "true" : "", reason: `imported from ${file.files[0].name}`.slice(0, 200) });
      const done = await call(path, { method: "POST", body: file.files[0], media: "application/octet-stream" });
      setSaid(["good", `${count(done.imported)} imported, ${count(done.replaced)} of them in another’s place, ${count(done.repeated)} repeated, ${count(done.skipped)} skipped.`]);
      form.current.reset();
    } catch (error) {
      setSaid(["bad", error.message]);
      setLines(error.lines ?? []);
    }
    setBusy(false);
  };
  const guess = ({ target: { files } }) => {
    const ending = files[0]?.name.split(".").at(-1);
    form.current.elements.format.value = FORMATS[ending] ? ending : "values";
  };
  return html`<${Card} title="Import a list" id="importing"><form id="import-form" ref=${form} onSubmit=${submit}>
    <label>File<input type="file" id="i-file" name="file" required onChange=${guess} /></label>
    <label>Written as<select id="i-format" name="format">${Object.entries(FORMATS).map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select></label>
    <label>For<select id="i-duration" name="duration"><option value="">as the settings have it</option><option value="1d">1 day</option><option value="7d">7 days</option><option value="30d">30 days</option></select></label>
    <label class="tick"><input type="checkbox" name="skip" />leave out lines that are refused</label>
    <span></span><button type="submit" id="i-submit" disabled=${busy}>${busy ? "Importing…" : "Import"}</button>
    ${said && html`<p id="import-said" class="said" role="alert" data-kind=${said[0]}>${said[1]}</p>`}
    ${lines.length > 0 && html`<ul class="plain">${lines.slice(0, 20).map(({ line, problem }) => html`<li class="why">Line ${line}: ${problem}</li>`)}</ul>`}
  </form></${Card}>`;
}

/** The allowlist, and whom the guards protect by themselves. */
export function NeverBlocked() {
  const [items, setItems] = useState([]);
  const [wrong, setWrong] = useState("");
  const look = () => call("/allowlist").then(({ items: all }) => setItems(all.filter(({ origin }) => origin === "operator")), (error) => setWrong(error.message));
  useEffect(() => void look(), []);
  const changed = () => (look(), lookAtGuards());
  const remove = (entry) => async () => {
    await call(ask("/allowlist", { target: entry.target }), { method: "DELETE" });
    changed();
  };
  const kept = guarded.value;
  const from = who.value?.from;
  const [ours, setOurs] = useState(null);
  useEffect(() => void (from && call(ask("/allowlist/check", { ip: from })).then(setOurs, () => {})), [from, kept]);
  return html`<${Card} title="Never blocked" count=${kept.length ? compact(kept.length) : ""} id="protected">
    ${mayAct.value && html`<${AllowForm} done=${changed} />`}
    <${Fault} text=${wrong} />
    ${ours && html`<p class="says" id="you">You come from <span class="address">${from}</span>: ${ours.protected ? `protected (${words(ours.guards[0].guard).toLowerCase()})` : "not protected; put it on the list"}.</p>`}
    <ul id="allow-list" class="plain protected" tabindex="0" aria-label="On the allowlist by command">${items.slice(0, 200).map((entry) => html`<li key=${entry.target}>
      <span class="line"><${Address} of=${entry.target} /><span class="quiet">${entry.expires_at ? `until ${moment(entry.expires_at)}` : "for good"}</span>
        ${mayAct.value && html`<${Sure} label="Remove" question="Take it off the list?" yes="Yes, remove" name=${`Take ${target(entry.target)} off the allowlist`} act=${remove(entry)} />`}</span>
      <span class="why">${entry.comment} (${entry.actor})</span></li>`)}</ul>
    <ul id="protected-list" class="plain protected" tabindex="0" aria-label="Protected by guards">${kept.slice(0, 200).map((p) => html`<li key=${`${p.target} ${p.guard}`}>
      <span class="line"><${Address} of=${p.target} /><span class="quiet">${words(p.guard)}</span></span><span class="why">${p.reason}</span></li>`)}</ul>
    ${kept.length === 0 && html`<p class="empty" id="protected-empty">The agent has not named any protected address yet.</p>`}
  </${Card}>`;
}
