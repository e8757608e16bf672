// What production would have done, and to whom: the question before it is switched on.

import { Address, Ago, Card, Chip, html } from "../lib/ui.js";
import { call } from "../lib/agent.js";
import { compact, count, size } from "../lib/format.js";
import { standing } from "./deeds.js";
import { usePoll } from "../lib/poll.js";

export function Harm() {
  const [told, wrong] = usePoll(() => call("/simulation?since=7d"), 30_000);
  return html`<${Card} title="What production would have done in seven days" id="harm">
    ${told === null ? html`<p class="empty">${wrong || "Loading…"}</p>` : html`
      <p class="says">${told.items.length
        ? html`${count(told.would_packets)} packets (${size(told.would_bytes)}) would have been dropped, limited or redirected. ${told.benign_sources
            ? html`<strong>${count(told.benign_sessions)} sessions of ${count(told.benign_sources)} sources that raised no alert would have suffered.</strong>`
            : "No session of a source without an alert was among them."}`
        : "No simulated decision has met a packet in that time."}</p>
      ${told.items.length > 0 && html`<div class="wide" tabindex="0" role="region" aria-label="Simulated decisions"><table class="evidence">
        <thead><tr>${["Whom", "What", "Packets", "Bystanders", "Last", "Why"].map((text) => html`<th scope="col" class=${text === "Packets" ? "number" : undefined}>${text}</th>`)}</tr></thead>
        <tbody>${told.items.slice(0, 50).map((item) => html`<tr key=${item.decision}><th scope="row"><${Address} of=${item.target} /></th>
          <td><${Chip} kind="simulated">${standing({ ...item, simulated: true })[0]}</${Chip}></td><td class="number">${compact(item.would_packets)}</td>
          <td>${item.benign_sessions ? html`<span class="warned">${count(item.benign_sessions)} sessions of ${item.benign.slice(0, 3).map(({ ip }) => ip).join(", ")}</span>` : "none"}</td>
          <td>${item.last && html`<${Ago} at=${item.last} />`}</td><td class="quiet">${item.reason}</td></tr>`)}</tbody></table></div>`}`}
  </${Card}>`;
}
