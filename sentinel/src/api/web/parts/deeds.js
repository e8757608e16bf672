// What decisions and actions do, in words.

import { count, words } from "../lib/format.js";
import { onlyCounts, stopped } from "../lib/live.js";

const DEEDS = {
  block_ip: { noun: "Block", done: "Blocked", undo: "Unblock", counted: "dropped", would: "would have been dropped" },
  rate_limit: { noun: "Limit", done: "Limited", undo: "Lift", counted: "over the limit dropped", would: "over the limit would have been dropped" },
  redirect_to_honeypot: { noun: "Redirection", done: "Redirected", undo: "Release", counted: "sent to the honeypot", would: "would have gone to the honeypot" },
  isolate_container: { noun: "Block and isolation", done: "Blocked", undo: "Release", counted: "dropped", would: "would have been dropped" },
  arp_ban: { noun: "Ban by ARP", done: "Kept from the gateway", undo: "Lift", counted: "met", would: "would have been met" },
};

/** By the name of the action. */
export const deed = (action) => DEEDS[action] ?? { noun: words(action), done: words(action), undo: "Release", counted: "met", would: "would have been met" };

/** What a rate limit lets through, or how far a block reaches. */
export function terms({ rate, egress }) {
  if (egress) return "in both directions";
  if (!rate) return "";
  const parts = [];
  if (rate.packets) parts.push(`${count(rate.packets)} ${rate.openings ? "openings" : "packets"}/s`);
  if (rate.bytes) parts.push(rate.bytes % 1024 ? `${count(rate.bytes)} B/s` : `${count(rate.bytes / 1024)} KiB/s`);
  return `to ${parts.join(", ")}${rate.each ? ", each address by itself" : ""}`;
}

/** How a decision stands: [word, kind of chip]. */
export function standing(decision) {
  const { noun, done } = deed(decision.action);
  switch (decision.status) {
    case "vetoed": return ["Refused by guard", "vetoed"];
    case "logged": return ["Logged", "logged"];
    case "failed": return ["Failed", "failed"];
    case "expired": return [`${noun} expired`, "over"];
    case "lifted": return [`${noun} lifted`, "over"];
    case "rolled_back": return [`${noun} rolled back`, "vetoed"];
    case "active":
      if (decision.simulated) return [`${noun} simulated`, "simulated"];
      if (stopped.value) return [`${noun} held back`, "simulated"];
      return [done, "enforced"];
    default: return ["Taken back", "over"];
  }
}

/** Whether a decision does what it is for, as far as the kernel goes. */
export const acts = (decision) => decision.status === "active" && !decision.simulated && !onlyCounts.value;

/** Whether an active decision acts, only counts, or waits for its confirmation: [word, kind of chip]. */
export function force(decision) {
  if (decision.simulated) return ["Simulated", "simulated"];
  if (onlyCounts.value) return ["Held back", "simulated"];
  return [decision.until_if_confirmed ? "Provisional" : "Enforced", "enforced"];
}

/** What the kernel counted for it. */
export function counted(decision) {
  const { counted: did, would } = deed(decision.action);
  const counts = decision.simulated || stopped.value !== null;
  return `${count(counts ? decision.would_hits : decision.hits)} packets ${counts ? would : did}`;
}

/** Whether something of an action is, or may be, in force. */
export const stands = ({ status }) => ["intent", "enforced", "simulated"].includes(status);

/** Who took it. */
export const taker = ({ origin, actor }) => (origin === "detector" ? `by detector ${words(actor)}` : `by ${actor}`);
