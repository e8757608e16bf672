// Who is told of alerts: how it stands with each channel, and whether it comes through.

import { Ago, Card, Chip, Fault, html, useState } from "../lib/ui.js";
import { call, mayAct } from "../lib/agent.js";
import { count, moment, sentence, words } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";

const PERIOD = 5_000;

export function Channels() {
  const [told, wrong, look] = usePoll(() => call("/notifications"), PERIOD);
  const [tried, setTried] = useState({});
  const [busy, setBusy] = useState("");
  const [fault, setFault] = useState("");
  const test = (channel) => async () => {
    setBusy(channel);
    setFault("");
    try {
      const { items } = await call("/notifications/test", { method: "POST", body: { channel } });
      setTried((before) => ({ ...before, ...Object.fromEntries(items.map((item) => [item.channel, item])) }));
    } catch (error) {
      setFault(error.message);
    }
    setBusy("");
    look();
  };
  return html`<${Card} title="Who is told" id="channels">
    <p class="says quiet">Channels are set up in the file, under <code>alerting</code>. What a channel does not take waits, and is told when it is back.</p>
    <div class="wide" tabindex="0" role="region" aria-label="Channels"><table class="evidence" id="channel-list">
      <thead><tr>${["Channel", "State", "Waiting", "In the next digest", "Last sent", ""].map((text) => (text ? html`<th scope="col">${text}</th>` : html`<td></td>`))}</tr></thead>
      <tbody>${(told?.channels ?? []).map((channel) => html`<tr key=${channel.channel}><th scope="row">${words(channel.channel)}</th>
        <td><${State} channel=${channel} outcome=${tried[channel.channel]} /></td><td>${count(channel.waiting)}</td><td>${channel.folds ? count(channel.digest) : html`<span class="quiet">each by itself</span>`}</td>
        <td>${channel.sent_at ? html`<${Ago} at=${channel.sent_at} />` : html`<span class="quiet">not since the start</span>`}</td>
        <td>${mayAct.value && channel.configured && html`<button type="button" class="small" aria-label=${`Test ${channel.channel}`} disabled=${busy !== ""} onClick=${test(channel.channel)}>${busy === channel.channel ? "Testing…" : "Test"}</button>`}</td></tr>`)}</tbody></table></div>
    <${Fault} text=${fault || wrong} />
    ${told?.recent.length > 0 && html`<details><summary>Latest messages</summary><ul class="plain" id="message-list">
      ${told.recent.map((message) => html`<li key=${message.id}><b>${words(message.content.kind)}</b> by ${words(message.channel)}, ${message.state}
        <span class="quiet"> ${moment(message.state_at)}${message.cause ? `: ${message.cause}` : ""}</span></li>`)}</ul></details>`}
  </${Card}>`;
}

function State({ channel, outcome }) {
  const { configured, trouble } = channel;
  return html`${!configured ? html`<span class="quiet">not set up</span>` : trouble ? html`<${Chip} kind="failed">Failing</${Chip}> ${trouble.cause}. <span class="quiet">${sentence(trouble.mend)} Tried ${count(trouble.tries)} times, next ${moment(trouble.next)}</span>` : html`<${Chip} kind="enforced">Working</${Chip}>`}
    ${outcome && html`<p class="said" data-kind=${outcome.taken ? "good" : "bad"} role="status">${outcome.taken ? "Test taken: " : "Test not taken: "}${outcome.detail}${outcome.mend ? `. ${sentence(outcome.mend)}` : ""}</p>`}`;
}
