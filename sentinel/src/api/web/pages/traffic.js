// Traffic: what flows were seen lately, and what the model said of them.

import { Address, Ago, Card, Chip, html, useEffect, useRef } from "../lib/ui.js";
import { compact, count, moment, service, size, span } from "../lib/format.js";
import { clock } from "../lib/clock.js";
import { usePolled } from "../lib/polled.js";
import { filtersOf, refilter } from "../lib/route.js";
import { Filters, List, Since, Whom } from "../parts/list.js";

/** Each level with its shape, its word and how grave it looks. */
const LEVELS = {
  flag: ["▲", "Flagged", "high"],
  suspicious: ["◆", "Suspicious", "medium"],
  benign: ["●", "Benign", "low"],
};

const name = (row) => [row.at, row.sensor, row.source, row.source_port, row.destination, row.destination_port, row.proto].join(" ");

export function Traffic() {
  const filters = filtersOf("level", "sensor", "ip", "since");
  const rows = usePolled({ path: "/traffic", filters, name });
  const told = rows.told.value;
  const filtered = Object.values(filters).some(Boolean);
  const empty = told && !told.enabled
    ? html`The traffic log is switched off (<code>traffic_log.enabled</code>).`
    : filtered ? "No flow that was looked at is like that." : "No flow was told of yet: one is when it ends, or after three seconds.";
  return html`<${Card} title="Traffic" id="traffic" tools=${html`<${Reach} told=${told} />`}>
    <${Filters} set=${refilter}>
      <label>Level<select name="level" value=${filters.level}><option value="">all</option><option value="flag">flagged</option>
        <option value="flag,suspicious">suspicious and flagged</option><option value="benign">benign</option></select></label>
      <${Sensor} value=${filters.sensor} />
      <${Whom} value=${filters.ip} /><${Since} value=${filters.since} />
    </${Filters}>
    <${List} id="traffic-list" label="Flows, the latest first" rows=${rows} more=${false} row=${(row) => html`<${Row} of=${row} />`} empty=${empty} />
  </${Card}>`;
}

/** How far back was looked. */
function Reach({ told }) {
  if (!told?.reaches) return null;
  return html`<span class="quiet small-print" id="traffic-reach" title=${`since ${moment(told.reaches)}`}>${count(told.looked_at)} rows looked at, of the last ${span(clock() - Date.parse(told.reaches))}${told.complete ? "" : "; there are older ones in the file"}</span>`;
}

/** Which sensor, by its name. */
function Sensor({ value }) {
  const field = useRef(null);
  // What is being typed stays while the list around it is drawn anew.
  useEffect(() => void (field.current.value = value), [value]);
  return html`<label>Sensor<input name="sensor" ref=${field} maxlength="32" pattern="[a-z0-9_]*" spellcheck="false" placeholder="xdp" /></label>`;
}

/** A flow in two lines. */
function Row({ of }) {
  const [shape, word, grave] = LEVELS[of.level] ?? ["○", of.score === null ? "Not judged" : "No level", "low"];
  const lasted = Date.parse(of.last_seen) - Date.parse(of.first_seen);
  const port = of.source_port ? `from port ${of.source_port}` : "";
  return html`<div class="block flow">
    <p class="line"><span class="severity" data-severity=${grave}><i aria-hidden="true">${shape}</i>${word}</span>
      <${Address} of=${of.source} /><span class="quiet" aria-hidden="true">→</span><span class="unseen">to</span>
      <span class="address">${service({ ip: of.destination, port: of.destination_port, proto: of.proto })}</span>
      <${Chip} kind="over">${of.sensor}</${Chip}><${Ago} at=${of.at} /></p>
    <p class="line small"><span>${compact(of.packets_sent)} packets, ${size(of.bytes_sent)} sent</span>
      <span>${compact(of.packets_received)} packets, ${size(of.bytes_received)} back</span>
      ${of.score !== null && html`<span>score ${of.score.toFixed(3)}</span>`}
      <span class="quiet">${[port, `within ${lasted < 1000 ? `${lasted} ms` : span(lasted)}`, of.continued ? "goes on from an earlier row" : ""].filter(Boolean).join(", ")}</span></p>
  </div>`;
}
