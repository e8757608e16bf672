// Settings: the configuration in force, and who may ask.

import { Ago, Card, Chip, Fault, Sure, html, useEffect, useRef, useState } from "../lib/ui.js";
import { call, isAdmin } from "../lib/agent.js";
import { moment, words } from "../lib/format.js";
import { Channels } from "../parts/channels.js";

export function Settings() {
  const [tree, setTree] = useState(null);
  const [wrong, setWrong] = useState("");
  const [sought, setSought] = useState("");
  const [pending, setPending] = useState([]);
  useEffect(() => void call("/settings").then(({ settings, restart_pending }) => (setTree(settings), setPending(restart_pending)), (error) => setWrong(error.message)), []);
  const rows = tree ? flat(tree).filter(({ key, value, description }) => `${key} ${value} ${description}`.toLowerCase().includes(sought)) : [];
  return html`<${Card} title="Settings in force" id="settings" tools=${html`<a class="all" href="/docs">The API, path by path</a>`}>
      <form class="filters" role="search" onSubmit=${(e) => e.preventDefault()}><label>Find<input id="search" type="search" placeholder="key, value or meaning" onInput=${(e) => setSought(e.target.value.trim().toLowerCase())} /></label></form>
      <p class="says quiet">They are changed in the file; <code>sentinel check</code> says whether a change is right, <code>sentinel reload</code> has it taken up. Secrets are masked.</p>
      ${pending.length > 0 && html`<p class="said" data-kind="bad" role="status" id="restart-pending">These wait for a restart: ${pending.map(({ key }, at) => html`${at ? ", " : ""}<code>${key}</code>`)}</p>`}
      <div class="wide" tabindex="0" role="region" aria-label="Settings"><table class="evidence" id="setting-list">
        <thead><tr><th scope="col">Key</th><th scope="col">Value</th><th scope="col">From</th><th scope="col">Meaning</th></tr></thead>
        <tbody>${rows.map(({ key, value, origin, changed, description, default: usual }) => html`<tr key=${key}><th scope="row"><code>${key}</code></th><td><code class="value">${value}</code></td>
          <td title=${changed ? `by default ${usual}` : undefined}>${changed ? html`<${Chip} kind="over">${told(origin)}</${Chip}>` : html`<span class="quiet">${told(origin)}</span>`}</td><td class="quiet">${description}</td></tr>`)}</tbody></table></div>
      ${!rows.length && html`<p class="empty">${wrong || (tree ? "No setting is like that." : "Loading…")}</p>`}
    </${Card}>
    <${Channels} />
    ${isAdmin.value && html`<${Tokens} />`}`;
}

/** Where a value came from. */
const told = ({ from, file, line, variable }) => (from === "file" ? `${file}${line ? `, line ${line}` : ""}` : from === "environment" ? variable : "default");

/** Settings without their sections. */
const flat = (settings) => settings.flatMap((one) => (one.settings ? flat(one.settings) : [one]));

/** Who may ask: tokens are shown once, and ended here. */
function Tokens() {
  const [items, setItems] = useState([]);
  const [made, setMade] = useState(null);
  const [wrong, setWrong] = useState("");
  const form = useRef(null);
  const look = () => call("/tokens").then(({ items: all }) => setItems(all), (error) => setWrong(error.message));
  useEffect(() => void look(), []);
  const create = async (event) => {
    event.preventDefault();
    const { name, role, duration } = form.current.elements;
    setWrong("");
    try {
      const wish = { name: name.value.trim(), role: role.value };
      if (duration.value) wish.duration = duration.value;
      setMade(await call("/tokens", { method: "POST", body: wish }));
      form.current.reset();
    } catch (error) {
      setWrong(error.message);
    }
    look();
  };
  const revoke = (token) => async () => {
    await call(`/tokens/${encodeURIComponent(token.id)}`, { method: "DELETE" });
    look();
  };
  return html`<${Card} title="Tokens" id="tokens">
    <form id="token-form" ref=${form} autocomplete="off" onSubmit=${create}>
      <label>Name<input name="name" id="k-name" required maxlength="64" placeholder="prometheus" /></label>
      <label>Role<select name="role" id="k-role"><option value="viewer">viewer</option><option value="operator">operator</option><option value="admin">admin</option><option value="bouncer">bouncer</option></select></label>
      <label>For<select name="duration"><option value="">good</option><option value="30d">30 days</option><option value="90d">90 days</option><option value="365d">a year</option></select></label>
      <button type="submit">Create</button>
      <${Fault} text=${wrong} />
      ${made && html`<p class="said" data-kind="good" role="status">This is shown once: <code id="k-made">${made.text}</code></p>`}
    </form>
    <div class="wide" tabindex="0" role="region" aria-label="Tokens"><table class="evidence"><thead><tr>${["Name", "Role", "Made", "Used", "Ends", ""].map((text) => (text ? html`<th scope="col">${text}</th>` : html`<td></td>`))}</tr></thead>
      <tbody>${items.map((token) => html`<tr key=${token.id}><th scope="row">${token.name}</th><td>${words(token.role)}</td>
        <td class="quiet">${moment(token.created_at)} by ${token.created_by}</td><td>${token.used_at ? html`<${Ago} at=${token.used_at} />` : html`<span class="quiet">never</span>`}</td>
        <td class="quiet">${token.revoked_at ? `revoked ${moment(token.revoked_at)}` : token.expires_at ? moment(token.expires_at) : "never"}</td>
        <td>${token.holds && html`<${Sure} label="Revoke" question="End it, and its sessions?" yes="Yes, revoke" name=${`Revoke ${token.name}`} act=${revoke(token)} />`}</td></tr>`)}</tbody></table></div>
  </${Card}>`;
}
