// What is known of the source of an alert: who was asked, what they say, and the risk it adds up to.

import { make, measured, moment, share, words } from "./format.js";

const STATES = {
  open: "Sources are being asked.",
  complete: "",
  local_only: "Nobody outside is asked about an address of this kind.",
  no_answer: "No source has answered. That says nothing for or against it.",
  no_sources: "No outside source is configured; this is what was seen here.",
};

const RESULTS = { fresh: "asked now", cache: "known already", stale: "known of old", feed: "on a list" };

/** The parts of an investigation, as elements. */
export function investigated(found) {
  const { risk } = found;
  const parts = [make("h3", "", "What is known of it")];
  const place = [found.country, found.network].filter(Boolean).join(", ");
  const state = [STATES[found.state], place && `It is in ${place}.`].filter(Boolean).join(" ");
  if (state) parts.push(make("p", "quiet", state));
  const largest = Math.max(...risk.parts.map((part) => Math.abs(part.log_odds)), 1e-9);
  const body = make("tbody");
  for (const part of risk.parts) body.append(share(part.name, part.log_odds, part.sentence, largest));
  const head = make("thead", "", make("tr", "", ...["Who", "Adds", "", "In words"].map((t) => make("th", "", t))));
  parts.push(make("p", "", `${risk.summary[0].toUpperCase()}${risk.summary.slice(1)}.`), make("table", "evidence shares", head, body));
  for (const text of risk.contradictions ?? []) parts.push(make("p", "warned", `They disagree: ${text}.`));
  if (found.answers.length) parts.push(answers(found.answers));
  return parts;
}

function answers(list) {
  const body = make("tbody");
  for (const answer of list) {
    const told = answer.indicator;
    const says = told ? (told.spare ? "do not block" : words(told.verdict)) : words(answer.result);
    const detail = told ? [...told.categories, ...Object.entries(told.raw ?? {}).map(([k, v]) => `${k} ${v}`)].join(", ") : answer.reason;
    const seen = told?.last_seen ? `last seen ${moment(told.last_seen)}` : "";
    body.append(
      make("tr", "",
        make("th", "", answer.source),
        make("td", "", says),
        make("td", "number", told ? measured(told.score) : ""),
        make("td", "quiet", told ? RESULTS[answer.result] ?? words(answer.result) : ""),
        make("td", "quiet", [detail, seen].filter(Boolean).join("; "))),
    );
  }
  const head = make("thead", "", make("tr", "", ...["Source", "Says", "Score", "How", "Details"].map((t) => make("th", "", t))));
  return make("table", "evidence", head, body);
}
