// Investigations: who was asked about whom, what they said, and how the sources themselves are.

import { Address, Ago, Card, Chip, Severity, html, useEffect, useState } from "../lib/ui.js";
import { call } from "../lib/agent.js";
import { compact, count, moment, words } from "../lib/format.js";
import { on } from "../lib/live.js";
import { filtersOf, href, refilter, route } from "../lib/route.js";
import { useRows } from "../lib/rows.js";
import { Found } from "../parts/explain.js";
import { usePoll } from "../lib/poll.js";
import { Filters, List, Since, Total, Whom } from "../parts/list.js";

export function Investigations() {
  const { name } = route.value;
  const filters = filtersOf("risk", "ip", "since");
  const fits = (found) => {
    if (filters.risk && !filters.risk.split(",").includes(found.risk.level)) return false;
    return filters.ip ? null : true;
  };
  const rows = useRows({ path: "/investigations", kind: "investigation", filters, fits });
  return html`<div class=${name ? "split" : "split alone"}>
    <div class="side">
      <${Card} title=${html`Investigations <${Total} rows=${rows} />`} id="investigations">
        <${Filters} set=${refilter}>
          <label>Risk<select name="risk" value=${filters.risk}><option value="">all</option><option value="high">high</option><option value="high,medium">medium and high</option>
            <option value="medium">medium</option><option value="low">low</option></select></label>
          <${Whom} value=${filters.ip} /><${Since} value=${filters.since} />
        </${Filters}>
        <${List} id="investigation-list" rows=${rows} row=${(found) => html`<${Line} found=${found} chosen=${found.id === name} />`}
          empty="Nobody was looked into yet. That happens with the first alert about a source." />
      </${Card}>
      <${Sources} />
    </div>
    ${name && html`<${Detail} key=${name} id=${name} known=${rows.view.value.find(({ id }) => id === name)} />`}
  </div>`;
}

function Line({ found, chosen }) {
  const answered = found.answers.filter(({ indicator }) => indicator).length;
  const disagree = (found.risk.contradictions ?? []).length;
  return html`<div class="item" data-chosen=${chosen ? "yes" : "no"}>
    <span class="line"><${Severity} of=${found.risk.level} /><${Address} of=${found.ip} /><span class="what">${found.network ?? ""}</span>
      ${disagree > 0 && html`<${Chip} kind="vetoed">Sources disagree</${Chip}>`}<${Ago} at=${found.at} /></span>
    <a class="why" href=${href("investigations", found.id)} aria-current=${chosen ? "true" : undefined}>${found.risk.summary}. ${count(answered)} of ${count(found.answers.length)} sources answered.</a>
  </div>`;
}

function Detail({ id, known }) {
  const [found, setFound] = useState(known ?? null);
  const [wrong, setWrong] = useState("");
  useEffect(() => {
    if (!known) call(`/investigations/${encodeURIComponent(id)}`).then(setFound, (error) => setWrong(error.message));
    return on("investigation", (latest) => latest.id === id && setFound(latest));
  }, [id]);
  const close = html`<a class="all" href=${href("investigations", "", Object.fromEntries(route.value.query))}>Close</a>`;
  return html`<${Card} title=${found ? html`<${Address} of=${found.ip} />` : "Investigation"} id="detail" tools=${close}>
    ${found ? html`<div class="inside">
      <p class="line"><${Severity} of=${found.risk.level} /><span>risk</span><span class="quiet">begun ${moment(found.at)}, changed ${moment(found.updated_at)}, ${count(found.revisions)} revisions after the first decision</span></p>
      <p><a href=${href("alerts", found.alert)}>The alert that began it</a></p>
      <${Found} of=${found} /></div>` : html`<p class="empty">${wrong || "Loading…"}</p>`}
  </${Card}>`;
}

const BREAKERS = { closed: ["Answers", "enforced"], open: ["Left alone for a while", "failed"], half_open: ["Tried again", "vetoed"] };

/** Sources: quota, cache and health. */
export function Sources() {
  const [told, wrong] = usePoll(() => call("/intel"), 10_000);
  return html`<${Card} title="Sources" id="sources">
    ${told === null ? html`<p class="empty">${wrong || "Loading…"}</p>` : html`
      ${!told.enabled && html`<p class="says">No source outside is asked: <code>intel.enabled</code> is off.</p>`}
      <ul class="plain parts">${told.sources.map((source) => html`<${Source} key=${source.name} of=${source} />`)}
        ${told.feeds.map((feed) => html`<li key=${feed.name}><span class="line"><strong>${feed.name}</strong><${Chip} kind=${feed.last_error ? "vetoed" : "enforced"}>${feed.last_error ? "Degraded" : "List"}</${Chip}>
          <span class="quiet">${compact(feed.entries)} entries${feed.fetched_at ? html`, fetched <${Ago} at=${feed.fetched_at} />` : ", not fetched yet"}</span></span>
          <span class="why">${feed.last_error ?? feed.place}</span></li>`)}</ul>
      <p class="says quiet">${count(told.cache.entries)} of ${count(told.cache.capacity)} answers kept.</p>`}
  </${Card}>`;
}

function Source({ of: source }) {
  const [word, kind] = source.enabled ? (BREAKERS[source.breaker.state] ?? [words(source.breaker.state), "over"]) : ["Off", "over"];
  const quota = source.quota.map(({ period, spent, allowed }) => `${count(spent)} of ${count(allowed)} a ${period}`).join(", ");
  const asked = source.cache_hits + source.cache_misses;
  return html`<li><span class="line"><strong>${source.name}</strong><${Chip} kind=${kind}>${word}</${Chip}>
      <span class="quiet">weight ${source.weight}${source.enabled && !source.key ? ", without a key" : ""}</span></span>
    <span class="why">${[quota && `Quota: ${quota}`, asked && `${count(source.cache_hits)} of ${count(asked)} known already`, source.breaker.cause, source.last_error && `last error: ${source.last_error.reason || source.last_error.result}`].filter(Boolean).join(". ")}</span></li>`;
}
