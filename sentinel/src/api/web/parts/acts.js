// What an operator commands: undo, confirm, block, allow. One place for each, wherever the button stands.

import { Sure, html, signal, useEffect, useRef, useState } from "../lib/ui.js";
import { call, mayAct, query } from "../lib/agent.js";
import { target, words } from "../lib/format.js";
import { guarded, mode, on, onlyCounts, stopped } from "../lib/live.js";
import { BESIDE } from "../lib/rows.js";
import { deed, standing, stands } from "./deeds.js";

/** What was taken back last and is not free for all that: [its target, decisions around it, the stop that holds those back]. */
const covered = signal(null);

/** Actions of what was taken back that still stand beside the kernel, or may. */
const following = signal([]);

/** Such actions that are over: that may be heard before the answer that names them. */
const undone = new Set();

/** Takes back, and remembers what stays in force around it and what is not undone yet. */
async function takeBack(whom, path, how) {
  const { covering, held_back, beside } = await call(path, how);
  covered.value = covering.length ? [whom, covering, held_back] : null;
  following.value = [...following.value, ...beside].filter((a) => !undone.has(a.id));
}

function follows({ kind, status, target: whom }) {
  const is = status === "enforced" ? "is not" : "may not be";
  return kind === "arp_ban" ? `${target(whom)} ${is} let go by Bettercap yet` : `The container that had ${target(whom)} ${is} connected again yet`;
}

/** Says of what was taken back that it is not undone everywhere yet. */
export function Following() {
  useEffect(() => {
    const off = [
      on("action", (action) => {
        if (stands(action) || !BESIDE.includes(action.kind)) return;
        undone.add(action.id);
        following.value = following.value.filter((a) => a.id !== action.id);
      }),
      // What was told meanwhile is not known.
      ...["joined", "lagged"].map((kind) => on(kind, () => (following.value = []))),
    ];
    return () => off.forEach((end) => end());
  }, []);
  if (!following.value.length) return null;
  return html`<p id="following" class="notice warn"><strong>${following.value.map(follows).join("; ")}.</strong> <a href="#/actions">Actions</a> tell when. ${" "}
    <button type="button" class="small" onClick=${() => (following.value = [])}>Understood</button></p>`;
}

/** Says of what was taken back last that others are on a prefix around it. */
export function Covered() {
  useEffect(() => on("decision", (decision) => {
    if (!covered.value || decision.status === "active") return;
    const [whom, around, stop] = covered.value;
    const left = around.filter((d) => d.id !== decision.id);
    covered.value = left.length ? [whom, left, stop] : null;
  }), []);
  if (!covered.value) return null;
  const [whom, around, stop] = covered.value;
  const says = stop ? "passes as long as acting is stopped; then it is covered again by" : "is not free, but covered by";
  return html`<p id="covered" class="notice warn"><strong>${target(whom)} ${says} ${around.map((d) => target(d.target)).join(" and ")}.</strong> To free it, take back what covers it under <a href="#/decisions">Decisions & allowlist</a>, or put it on the allowlist there. ${" "}
    <button type="button" class="small" onClick=${() => (covered.value = null)}>Understood</button></p>`;
}

/** Takes a decision back, in two clicks. */
export function Undo({ decision }) {
  if (!mayAct.value || decision.status !== "active" || decision.action === "log_only") return null;
  const { undo } = deed(decision.action);
  const act = () => takeBack(decision.target, `/decisions/${encodeURIComponent(decision.id)}`, { method: "DELETE" });
  return html`<${Sure} label=${undo} question="Let it in again?" yes=${`Yes, ${undo.toLowerCase()}`} name=${`${undo} ${target(decision.target)}`} act=${act} />`;
}

/** Takes what a whole action did back, in two clicks. */
export function Revert({ action }) {
  if (!mayAct.value || !stands(action)) return null;
  const act = () => takeBack(action.target, `/actions/${encodeURIComponent(action.id)}/revert`, { method: "POST", body: {} });
  return html`<${Sure} label="Undo" question="Undo it?" yes="Yes, undo" name=${`Undo ${deed(action.kind).noun.toLowerCase()} of ${target(action.target)}`} act=${act} />`;
}

/** Makes a provisional decision last. */
export function Confirm({ decision }) {
  if (!mayAct.value || decision.status !== "active" || !decision.until_if_confirmed) return null;
  const act = () => call(`/decisions/${encodeURIComponent(decision.id)}/confirm`, { method: "POST", body: {} });
  return html`<${Sure} label="Confirm" kind="primary" question="Let it stand?" yes="Yes, confirm" name=${`Confirm ${target(decision.target)}`} act=${act} />`;
}

/** Stops all acting, or goes on. */
export function Stop() {
  const [said, setSaid] = useState(null);
  if (!mayAct.value || (mode.value !== "production" && !stopped.value)) return null;
  const go = async () => {
    setSaid(null);
    try {
      const told = await call("/acting", { method: "POST", body: { acting: !!stopped.value, reason: "from the dashboard" } });
      setSaid(["good", `${words(told.says)}.`]);
    } catch (error) {
      setSaid(["bad", error.message]);
    }
  };
  return html`<button type="button" class="small" id="acting" data-stopped=${stopped.value ? "yes" : "no"} onClick=${go}>${stopped.value ? "Resume acting" : "Stop acting"}</button>
    ${said && html`<span id="acting-said" class="said" role="alert" data-kind=${said[0]}>${said[1]}</span>`}`;
}

/** What the agent would say of an address before anything is done to it. */
function Foresight({ of }) {
  const [told, setTold] = useState(null);
  useEffect(() => {
    setTold(null);
    if (!of) return undefined;
    const later = setTimeout(() => call(query("/allowlist/check", { ip: of })).then(setTold, () => setTold(null)), 250);
    return () => clearTimeout(later);
  }, [of]);
  if (!told) return null;
  if (told.protected) {
    const [first] = told.guards;
    return html`<p class="foresight" data-kind="vetoed" id="f-foresight">Protected by ${words(first.guard)}: ${first.reason}. A block would be refused.</p>`;
  }
  if (told.decisions.length) {
    const names = told.decisions.slice(0, 3).map((d) => `${target(d.target)} (${standing(d)[0].toLowerCase()})`);
    return html`<p class="foresight" id="f-foresight">In force already: ${names.join(", ")}.</p>`;
  }
  return html`<p class="foresight" data-kind="fine" id="f-foresight">No guard speaks for it.</p>`;
}

const ASKED = { block: "Block", rate_limit: "Limit", redirect: "Redirect", isolate: "Isolate" };

/** The form that blocks, limits, redirects. */
export function BlockForm({ whom = "" }) {
  const [type, setType] = useState("block");
  const [typed, setTyped] = useState(whom);
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState(null);
  const form = useRef(null);
  useEffect(() => {
    form.current.elements.target.value = whom;
    setTyped(whom);
  }, [whom]);
  const submit = async (event) => {
    event.preventDefault();
    const { target: field, reason, duration, ...rest } = form.current.elements;
    setBusy(true);
    setSaid(null);
    try {
      const wish = { target: field.value.trim(), type: form.current.elements.type.value, duration: duration.value, reason: reason.value };
      if (wish.type === "block" && rest.egress?.checked) wish.egress = true;
      if (wish.type === "rate_limit") {
        if (rest.packets.value) wish.packets = rest.packets.valueAsNumber;
        if (rest.kib.value) wish.bytes = rest.kib.valueAsNumber * 1024;
        wish.burst = rest.burst.value;
        if (rest.each.checked) wish.each = true;
      }
      const decision = await call("/decisions", { method: "POST", body: wish });
      const counts = decision.simulated || decision.held_back;
      const done = deed(decision.action).done.toLowerCase();
      const otherwise = !counts && decision.outcome?.includes("; but ") ? `, as far as that goes: ${words(decision.outcome)}` : "";
      setSaid([otherwise ? "bad" : "good", `${target(decision.target)} is ${done}${counts ? " in simulation: its packets are counted, and pass" : otherwise}.`]);
      field.value = reason.value = "";
      setTyped("");
    } catch (error) {
      setSaid(["bad", error.message]);
      field.focus();
    }
    setBusy(false);
  };
  const rate = type === "rate_limit";
  return html`<form id="block-form" ref=${form} autocomplete="off" onSubmit=${submit}>
    <label>Address or prefix<input id="f-target" name="target" required maxlength="64" spellcheck="false" placeholder="203.0.113.7 or 2001:db8::/64" onInput=${(e) => setTyped(e.target.value.trim())} /></label>
    <label>For<select id="f-duration" name="duration">
      <option value="1h">1 hour</option><option value="4h" selected>4 hours</option><option value="1d">1 day</option>
      <option value="7d">7 days</option><option value="30d">30 days</option></select></label>
    <label>What<select id="f-type" name="type" onChange=${(e) => setType(e.target.value)}>
      <option value="block">Block it</option><option value="rate_limit">Limit its rate</option>
      <option value="redirect">Send it to the honeypot</option><option value="isolate">Isolate its container</option></select></label>
    ${type === "block" && html`<label class="tick"><input type="checkbox" id="f-egress" name="egress" />what goes out to it, too</label>`}
    <fieldset id="f-rate" hidden=${!rate} disabled=${!rate}>
      <legend>What still gets through</legend>
      <label>Packets a second<input id="f-packets" name="packets" type="number" min="0" max="10000000" step="1" placeholder="no limit" /></label>
      <label>KiB a second<input id="f-kib" name="kib" type="number" min="0" max="8388608" step="1" placeholder="no limit" /></label>
      <label>At once<select id="f-burst" name="burst">
        <option value="100ms">100 ms of it</option><option value="1s" selected>1 second of it</option><option value="10s">10 seconds of it</option></select></label>
      <label class="tick"><input type="checkbox" id="f-each" name="each" />each address of the prefix by itself</label>
      <p class="quiet">Both empty: as the settings have it.</p>
    </fieldset>
    <label>Reason<input id="f-reason" name="reason" maxlength="500" placeholder="for the audit" /></label>
    <button type="submit" id="f-submit" disabled=${busy}>${ASKED[type]}${onlyCounts.value ? " (simulated)" : ""}</button>
    <${Foresight} of=${typed} />
    ${said && html`<p id="form-said" class="said" role="alert" data-kind=${said[0]}>${said[1]}</p>`}
  </form>`;
}

/** The form that puts somebody out of reach of every action. */
export function AllowForm({ done = () => {} }) {
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState(null);
  const form = useRef(null);
  const submit = async (event) => {
    event.preventDefault();
    const { target: field, comment, duration } = form.current.elements;
    setBusy(true);
    setSaid(null);
    try {
      const wish = { target: field.value.trim(), comment: comment.value };
      if (duration.value) wish.duration = duration.value;
      const made = await call("/allowlist", { method: "POST", body: wish });
      const ended = made.ended.length ? `; ${made.ended.length} decisions ended with it` : "";
      setSaid(["good", `${target(made.target)} is on the allowlist, in the kernel, read back${ended}.`]);
      field.value = comment.value = "";
      done(made);
    } catch (error) {
      setSaid(["bad", error.message]);
      field.focus();
    }
    setBusy(false);
  };
  return html`<form id="allow-form" ref=${form} autocomplete="off" onSubmit=${submit}>
    <label>Address or prefix<input id="a-target" name="target" required maxlength="64" spellcheck="false" placeholder="203.0.113.7 or 2001:db8::/64" /></label>
    <label>For<select id="a-duration" name="duration">
      <option value="">good</option><option value="4h">4 hours</option><option value="1d">1 day</option><option value="30d">30 days</option></select></label>
    <label>Comment<input id="a-comment" name="comment" maxlength="500" placeholder="shown with the entry" /></label>
    <button type="submit" id="a-submit" disabled=${busy}>Never block</button>
    ${said && html`<p id="allow-said" class="said" role="alert" data-kind=${said[0]}>${said[1]}</p>`}
  </form>`;
}

/** The guard that protects exactly this host, as far as the page knows. */
export const guardOf = (whom) => guarded.value.find((p) => target(p.target) === target(whom));

/** Never blocks one address again, in two clicks. */
export function Allow({ whom, done = () => {} }) {
  if (!mayAct.value || guardOf(whom)) return null;
  const act = async () => done(await call("/allowlist", { method: "POST", body: { target: whom, comment: "from the dashboard" } }));
  return html`<${Sure} label="Never block" kind="primary" question="Put it on the allowlist for good?" yes="Yes, never block" name=${`Never block ${whom}`} act=${act} />`;
}

/** Blocks one address for four hours, in two clicks. */
export function Block({ whom }) {
  if (!mayAct.value || guardOf(whom)) return null;
  const act = () => call("/decisions", { method: "POST", body: { target: whom, duration: "4h", reason: "from the dashboard" } });
  return html`<${Sure} label=${onlyCounts.value ? "Block (simulated)" : "Block"} question="Block it for four hours?" yes="Yes, block" name=${`Block ${whom}`} act=${act} />`;
}
