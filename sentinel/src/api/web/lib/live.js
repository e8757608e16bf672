// The stream: four batches a second at most, gone on with where it broke off.

import { batch, computed, signal } from "../vendor/signals.mjs";
import { call } from "./agent.js";
import * as time from "./clock.js";

/** Seconds of traffic kept. */
const WINDOW = 600_000;

export const health = signal(null);
export const stats = signal(null);
/** `connecting`, `live` or `lost`. */
export const link = signal("connecting");
/** When something was last heard, by this machine's clock. */
export const heard = signal(0);
export const started = signal(null);
/** Rates over time, oldest first: {at, passed, dropped, would, bits, …}; a hole is {at, gap: true}. */
export const rates = signal([]);
/** What may never be touched. */
export const guarded = signal([]);

/** The person's stop, where there is one. */
export const stopped = computed(() => (stats.value ?? health.value)?.acting?.stopped ?? null);
export const mode = computed(() => health.value?.mode ?? stats.value?.mode ?? null);
/** Entries only count. */
export const onlyCounts = computed(() => mode.value === "simulation" || stopped.value !== null);

const listeners = new Map();

/** Calls `hear(data)` for messages of a kind; `joined` and `lagged` where lists are to be fetched anew. Answers with the way out. */
export function on(kind, hear) {
  if (!listeners.has(kind)) listeners.set(kind, new Set());
  listeners.get(kind).add(hear);
  return () => listeners.get(kind).delete(hear);
}

const tell = (kind, data) => listeners.get(kind)?.forEach((hear) => hear(data));

let last = null;
let delay = 500;

export function connect() {
  const after = last ? `&after=${encodeURIComponent(last)}` : "";
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/stream?batch=true${after}`);
  socket.addEventListener("message", ({ data }) => {
    heard.value = Date.now();
    batch(() => JSON.parse(data).forEach(take));
  });
  socket.addEventListener("close", () => {
    if (link.value !== "lost") link.value = "lost";
    // Tells whether it is the session that is over.
    call("/session").catch(() => {});
    setTimeout(connect, delay);
    delay = Math.min(delay * 1.6, 10_000);
  });
}

function take(message) {
  if (message.id) last = message.id;
  switch (message.type) {
    case "hello":
      // Another agent may speak otherwise: begin anew.
      if (started.value && message.started !== started.value) return location.reload();
      started.value = message.started;
      // Pages that were fetched before may lack what happened until now.
      if (last === null) tell("joined");
      last ??= message.last;
      link.value = "live";
      delay = 500;
      before = null;
      recall();
      lookAtGuards();
      break;
    case "lagged":
      tell("lagged");
      break;
    case "health":
      health.value = message.data;
      break;
    case "stats":
      time.set(message.data);
      count(message.data);
      stats.value = message.data;
      tell("hits", message.data.hits ?? {});
      break;
    default:
      tell(message.type, message.data);
  }
}

// ---- rates -----------------------------------------------------------------------------------

const sum = (totals, ...names) => names.reduce((all, name) => all + (totals[name] ?? 0), 0);

let before = null;
let recalled = false;

function count(message) {
  if (!message.interfaces.length || !recalled) return;
  const t = message.totals;
  sample({
    at: Date.parse(message.at),
    passed: sum(t, "pass_v4", "pass_v6", "pass_other"),
    dropped: sum(t, "drop_v4", "drop_v6", "drop_hidden"),
    would: sum(t, "would_drop", "would_limit"),
    bytes: sum(
      t, "pass_v4_bytes", "pass_v6_bytes", "pass_other_bytes", "drop_v4_bytes", "drop_v6_bytes", "drop_hidden_bytes",
      "redirect_v4_bytes", "redirect_v6_bytes", "answer_v4_bytes", "answer_v6_bytes",
    ),
    lost: sum(t, "event_lost") + message.lost.reduce((all, { items }) => all + items, 0),
    flows: message.flows_active,
    sources: message.sources_active,
  });
}

/** From totals to rates: two samples make a point. */
function sample(now) {
  if (before && now.at > before.at && now.passed >= before.passed) {
    const per = (name) => Math.max(0, ((now[name] - before[name]) * 1000) / (now.at - before.at));
    const point = {
      at: now.at, passed: per("passed"), dropped: per("dropped"), would: per("would"), bits: per("bytes") * 8,
      lost: now.lost === undefined || before.lost === undefined ? null : per("lost"),
      flows: now.flows ?? null, sources: now.sources ?? null,
    };
    const kept = rates.value.filter((known) => known.at > now.at - WINDOW && known.at < now.at);
    rates.value = [...kept, point];
  }
  if (!before || now.at > before.at) before = now;
}

/** What happened before this page was opened; live counters wait for it, so that time runs one way. */
async function recall() {
  recalled = false;
  const { items } = await call("/stats/history").catch(() => ({ items: [] }));
  const known = rates.value.at(-1);
  const fresh = items.filter((item) => !known || Date.parse(item.at) > known.at);
  if (known && fresh.length) rates.value = [...rates.value, { at: known.at + 1, gap: true }];
  for (const { at, passed, dropped, would_drop, bytes } of fresh) {
    sample({ at: Date.parse(at), passed, dropped, would: would_drop, bytes });
  }
  recalled = true;
}

/** The list follows the host's addresses, which seldom change. */
export async function lookAtGuards() {
  const told = await call("/protected").catch(() => null);
  if (told) guarded.value = told.items;
}
setInterval(lookAtGuards, 30_000);
