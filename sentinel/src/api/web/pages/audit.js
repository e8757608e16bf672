// The audit: who did what, and whether the chain is whole.

import { Card, html, useEffect, useState } from "../lib/ui.js";
import { call, query } from "../lib/agent.js";
import { compact, count, moment } from "../lib/format.js";
import { on } from "../lib/live.js";
import { route, refilter } from "../lib/route.js";
import { Filters, Since } from "../parts/list.js";

export function Audit() {
  const since = route.value.query.get("since") ?? "";
  const [page, setPage] = useState(null);
  const [wrong, setWrong] = useState("");
  const ask = (cursor) => call(query("/audit", { since, cursor, limit: 100 }));
  const look = () => ask("").then((told) => (setPage(told), setWrong("")), (error) => setWrong(error.message));
  useEffect(() => {
    look();
    // Whatever is decided is in it too.
    let planned;
    const off = on("decision", () => (planned ??= setTimeout(() => ((planned = undefined), look()), 1_000)));
    return () => (clearTimeout(planned), off());
  }, [since]);
  const older = () => ask(page.next_cursor).then((told) => setPage({ ...told, items: [...page.items, ...told.items] }), (error) => setWrong(error.message));
  return html`<${Card} title="Audit" count=${page ? compact(page.total) : ""} id="audit" tools=${html`<${Chain} />`}>
    <${Filters} set=${refilter}><${Since} value=${since} /></${Filters}>
    <div class="wide" tabindex="0" role="region" aria-label="Audit entries"><table class="evidence" id="audit-list">
      <thead><tr>${["When", "Who", "Did", "To", "With which result"].map((text) => html`<th scope="col">${text}</th>`)}</tr></thead>
      <tbody>${page?.items.map((entry) => html`<tr key=${entry.seq}><td class="quiet"><time dateTime=${entry.at} title=${`entry ${entry.seq}, hash ${entry.hash}`}>${moment(entry.at)}</time></td>
        <th scope="row">${entry.actor}</th><td><code>${entry.verb}</code></td><td class="address">${entry.subject}</td><td class="quiet">${entry.detail}</td></tr>`)}</tbody>
    </table></div>
    ${!page?.items.length && html`<p class="empty">${wrong || (page ? "Nothing is written there for that time." : "Loading…")}</p>`}
    ${page?.items.length > 0 && wrong && html`<p class="said" role="alert">${wrong}</p>`}
    ${page?.next_cursor && html`<button type="button" class="more" onClick=${older}>Show older ones</button>`}
  </${Card}>`;
}

/** Goes through the whole chain of hashes. */
function Chain() {
  const [said, setSaid] = useState(null);
  const check = async () => {
    setSaid(["", "Checking…"]);
    try {
      const { intact, broken, head, pruned } = await call("/audit/verify");
      setSaid(broken ? ["bad", `Broken after ${count(intact)} entries: ${broken}`] : ["good", `Whole: ${count(intact)} entries, ending in ${head.slice(0, 12)}…${pruned ? `; the first ${count(pruned)} were removed by retention` : ""}`]);
    } catch (error) {
      setSaid(["bad", error.message]);
    }
  };
  return html`<button type="button" class="small" id="verify" onClick=${check}>Verify the chain</button>${said && html`<span id="verified" class="said" role="status" data-kind=${said[0]}>${said[1]}</span>`}`;
}
