// One alert or decision of a list, wherever the list stands.

import { Address, Ago, Chip, Left, Severity, html } from "../lib/ui.js";
import { words } from "../lib/format.js";
import { href } from "../lib/route.js";
import { Confirm, Undo } from "./acts.js";
import { acts, counted, deed, force, standing, taker, terms } from "./deeds.js";
import { outcomes } from "./outcomes.js";

/** An alert in two lines; the whole of it leads to the rest. */
export function AlertLine({ alert, chosen }) {
  const decision = outcomes.value.get(alert.id);
  const [word, kind] = decision ? standing(decision) : ["", ""];
  return html`<div class="item" data-chosen=${chosen ? "yes" : "no"}>
    <span class="line"><${Severity} of=${alert.severity} /><${Address} of=${alert.source} /><span class="what">${words(alert.detector)}</span>
      ${word && html`<${Chip} kind=${kind}>${word}</${Chip}>`}<${Ago} at=${alert.at} /></span>
    <a class="why" href=${href("alerts", alert.id)} aria-current=${chosen ? "true" : undefined}>${alert.summary}</a>
  </div>`;
}

/** A decision in force: on whom, why, until when, and what the kernel counted. */
export function DecisionLine({ decision }) {
  const active = decision.status === "active";
  const { noun, done } = deed(decision.action);
  const [word, kind] = active ? force(decision) : standing(decision);
  const live = decision.last_hit && Date.now() - Date.parse(decision.last_hit) < 5_000;
  return html`<div class="block">
    <div class="line"><${Address} of=${decision.target} /><span class="what">${`${acts(decision) ? done : noun} ${terms(decision)}`.trim()}</span><${Chip} kind=${kind}>${word}</${Chip}>
      <span class="end"><${Confirm} decision=${decision} /><${Undo} decision=${decision} /></span></div>
    <p class="why">${decision.reason}</p>
    <p class="line small">${decision.action !== "log_only" && html`<span class="hits" data-live=${live ? "yes" : "no"}>${counted(decision)}</span>`}
      <span class="quiet">begun <${Ago} at=${decision.at} /> ${taker(decision)}</span>
      ${decision.alert && html`<a class="quiet" href=${href("alerts", decision.alert)}>why</a>`}</p>
    ${active && decision.expires_at && html`<p class="line small"><${Left} from=${decision.at} until=${decision.expires_at} note=${decision.until_if_confirmed ? " unless confirmed" : ""} /></p>`}
  </div>`;
}
