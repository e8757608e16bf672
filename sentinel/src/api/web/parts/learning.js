// The model and learn mode: what was promised, what it held, and the operator's word.

import { Ago, Card, Fault, Meter, html, useState } from "../lib/ui.js";
import { call, mayAct } from "../lib/agent.js";
import { count, measured } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";

/** How often the card is read anew, ms. */
const PERIOD = 5_000;

export function Learning() {
  const [learning, unreadable, , setLearning] = usePoll(() => call("/learn"), PERIOD);
  const [wrong, setWrong] = useState("");
  const wish = (word) => async () => {
    try {
      setLearning(await call(`/learn/${word}`, { method: "POST", body: {} }));
      setWrong("");
    } catch (error) {
      setWrong(error.message);
    }
  };
  const on = learning && learning.since !== null;
  const button = (word, text, disabled = false) => html`<button type="button" class="small" id=${`learn-${word}`} disabled=${disabled} onClick=${wish(word)}>${text}</button>`;
  return html`<${Card} title="Model" id="model" tools=${html`<a class="all" href="#/model">More of it</a>`}>
    <p id="model-says" class="says">${learning ? html`<${Says} of=${learning} />` : unreadable || "Loading…"}</p>
    ${learning && html`<ul id="model-levels" class="plain levels">${on ? learning.levels.map(gathered(learning.kept)) : held(learning)}</ul>`}
    ${learning && mayAct.value && html`<p class="deeds">${on
      ? html`${button("accept", "Accept", learning.levels.some((level) => level.missing > 0))}${button("discard", "Discard")}`
      : button("start", learning.calibrated ? "Learn this network anew" : "Learn this network")}</p>`}
    <${Fault} text=${wrong} />
  </${Card}>`;
}

function Says({ of: learning }) {
  const warning = learning.warning ? ` Warning: ${learning.warning}` : "";
  if (learning.since !== null) {
    const left = learning.left_out ? `, ${count(learning.left_out)} left out` : "";
    const resumed = learning.resumed ? ", gone on with after a restart" : "";
    return html`Learning what is benign here, begun <${Ago} at=${learning.since} />${resumed}: ${count(learning.seen)} flow records seen${left}.${warning}`;
  }
  return learning.calibrated
    ? `Speaks by thresholds of this network. What it says is statistical: never a block by itself.${warning}`
    : `Judges and says nothing: its thresholds are not calibrated for this network.${warning}`;
}

/** A level while it is learnt: how many of the flows it needs are there. */
const gathered = (kept) => (level) => {
  const needed = kept + level.missing;
  const text = level.missing ? `${count(kept)} of ${count(needed)} flows` : "enough";
  return row(level.name, text, needed ? kept / needed : 0);
};

/** The levels in force: what was promised, and what was held. */
function held(learning) {
  if (!learning.calibrated) return [];
  return learning.realised.map((level) => {
    const part = level.judged ? level.reached / level.judged : 0;
    const text = `${measured(part * 100)} % of ${count(level.judged)}; promised ${measured(level.alpha * 100)} %`;
    return row(level.name, text, part / (3 * level.alpha));
  });
}

const row = (name, text, part) => html`<li key=${name}><span>${name}</span><span class="quiet">${text}</span><${Meter} part=${part} label=${`${name}: ${text}`} level="fine" /></li>`;
