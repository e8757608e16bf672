// What alerts led to.

import { signal } from "../lib/ui.js";
import { call } from "../lib/agent.js";
import { on } from "../lib/live.js";

/** Alerts remembered; those behind are asked for again. */
const MOST = 2_000;

/** Alert to the decision it led to. */
export const outcomes = signal(new Map());

const asked = new Set();

function learn(decisions) {
  const ours = decisions.filter((decision) => decision.alert);
  if (!ours.length) return;
  const known = new Map(outcomes.value);
  for (const decision of ours) known.set(decision.alert, decision);
  while (known.size > MOST) {
    const [oldest] = known.keys();
    known.delete(oldest);
    asked.delete(oldest);
  }
  outcomes.value = known;
}

on("decision", (decision) => learn([decision]));

/** A function that fetches what alerts led to, each once. */
export const useOutcomes = () => async (alerts) => {
  const wanted = alerts.map(({ id }) => id).filter((id) => !asked.has(id));
  if (!wanted.length) return;
  if (asked.size > 2 * MOST) asked.clear();
  for (const id of wanted) asked.add(id);
  try {
    for (let at = 0; at < wanted.length; at += 50) {
      const some = wanted.slice(at, at + 50);
      learn((await call(`/decisions?alert=${some.join(",")}&limit=200`)).items.reverse());
    }
  } catch {
    for (const id of wanted) asked.delete(id);
  }
};

/** Whether a decision is in force, as the agent's `active=true` has it. */
export const inForce = (decision) => decision.status === "active" && decision.action !== "log_only";
