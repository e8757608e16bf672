// The model and learn mode: what it was promised, what it held, and the operator's word.

import { $, ago, count, make, measured, meter, say } from "./format.js";

/** How often the card is read anew, ms. */
const PERIOD = 5_000;

/** Begins to keep the card; `call` asks the agent, `clock` is its clock. */
export function keep(call, clock) {
  const wish = (word) => async () => {
    try {
      show(await call(`/learn/${word}`, { method: "POST", body: "{}" }), clock);
      say($("model-said"), "");
    } catch (error) {
      say($("model-said"), error.message);
    }
  };
  for (const word of ["start", "accept", "discard"]) $(`learn-${word}`).addEventListener("click", wish(word));
  const look = async () => {
    if (!document.hidden) {
      try {
        show(await call("/learn"), clock);
      } catch (error) {
        say($("model-says"), error.message);
      }
    }
    setTimeout(look, PERIOD);
  };
  look();
}

function show(learning, clock) {
  const on = learning.since !== null;
  $("model").dataset.state = on ? "learning" : learning.calibrated ? "calibrated" : "uncalibrated";
  say($("model-says"), sentence(learning, clock));
  $("learn-start").hidden = on;
  say($("learn-start"), learning.calibrated ? "Learn this network anew" : "Learn this network");
  $("learn-accept").hidden = $("learn-discard").hidden = !on;
  $("learn-accept").disabled = !on || learning.levels.some((level) => level.missing > 0);
  $("model-levels").replaceChildren(...(on ? learning.levels.map(gathered(learning.kept)) : held(learning)));
}

function sentence(learning, clock) {
  const warning = learning.warning ? ` Warning: ${learning.warning}` : "";
  if (learning.since !== null) {
    const left = learning.left_out ? `, ${count(learning.left_out)} left out` : "";
    const since = ago(clock() - Date.parse(learning.since));
    const resumed = learning.resumed ? ", gone on with after a restart" : "";
    const seen = `${count(learning.seen)} flow records seen${left}`;
    return `Learning what is benign here, begun ${since}${resumed}: ${seen}.${warning}`;
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

function row(name, text, part) {
  return make("li", "", make("span", "", name), make("span", "quiet", text), meter(part, `${name}: ${text}`));
}
