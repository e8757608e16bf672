// Actions: what was really done, to whom, until when, and how to undo it.

import { Address, Ago, Card, Chip, Left, html } from "../lib/ui.js";
import { count, sentence, words } from "../lib/format.js";
import { filtersOf, refilter } from "../lib/route.js";
import { useRows } from "../lib/rows.js";
import { Revert } from "../parts/acts.js";
import { deed, stands } from "../parts/deeds.js";
import { Filters, List, Since, Total, Whom } from "../parts/list.js";

const KINDS = { intent: "vetoed", enforced: "enforced", simulated: "simulated", failed: "failed", reverted: "over", expired: "over" };

export function Actions() {
  const filters = filtersOf("status", "ip", "since");
  const fits = (action) => {
    if (filters.status && action.status !== filters.status) return false;
    return filters.ip ? null : true;
  };
  const rows = useRows({ path: "/actions", kind: "action", filters, fits, when: (action) => action.intent_at });
  return html`<${Card} title=${html`Actions <${Total} rows=${rows} />`} id="actions">
    <${Filters} set=${refilter}>
      <label>Status<select name="status" value=${filters.status}><option value="">all</option>${Object.keys(KINDS).map((status) => html`<option value=${status}>${words(status)}</option>`)}</select></label>
      <${Whom} value=${filters.ip} /><${Since} value=${filters.since} />
    </${Filters}>
    <${List} id="action-list" rows=${rows} row=${(action) => html`<${Line} action=${action} />`} empty=${Object.values(filters).some(Boolean) ? "No action is like that." : "Nothing was done yet."} />
  </${Card}>`;
}

function Line({ action }) {
  const { noun, counted, would } = deed(action.kind);
  const simulated = action.status === "simulated" || (action.hits === 0 && action.would_hits > 0);
  return html`<div class="block">
    <div class="line"><${Address} of=${action.target} /><span class="what">${noun}</span><${Chip} kind=${KINDS[action.status]}>${words(action.status)}</${Chip}>
      <span class="end"><${Revert} action=${action} /></span></div>
    <p class="why">${sentence(action.outcome || "Written down, not yet done")}</p>
    <p class="line small"><span class="hits">${count(simulated ? action.would_hits : action.hits)} packets ${simulated ? would : counted}</span>
      <span class="quiet">begun <${Ago} at=${action.intent_at} /></span>
      ${stands(action) && action.expires_at && html`<${Left} from=${action.intent_at} until=${action.expires_at} />`}</p>
  </div>`;
}
