// The page: state, the stream, and when to draw.

import * as chart from "./chart.js";
import { $, bits, compact, count, fill, make, meter, say, span, target, words } from "./format.js";
import { keep as keepModel } from "./model.js";
import { keep as keepOperate, show as showAllowed, showActing, stop } from "./operate.js";
import { List, alertRow, blockRow, deed } from "./rows.js";

/** Drawn at most four times a second, however much happens. */
const FRAME = 250;
const PAGE = 100;

const state = {
  health: null,
  stats: null,
  lost: null,
  skew: 0,
  heard: 0,
  started: null,
  totals: { alerts: 0, blocks: 0 },
  cursors: { alerts: null, blocks: null },
  loaded: false,
  /** alert id to the decision it led to */
  outcomes: new Map(),
};

/** The agent's clock, as far as we know it. */
const clock = () => Date.now() + state.skew;

const alerts = new List("alert", alertRow(clock, outcome, investigation));
const blocks = new List("block", blockRow(clock, unblock));

function outcome(alert) {
  const decision = state.outcomes.get(alert.id);
  if (!decision) return ["", ""];
  if (decision.status === "vetoed") return ["Refused by guard", "vetoed"];
  if (decision.status === "logged") return ["Logged", "logged"];
  if (decision.status === "failed") return ["Failed", "failed"];
  const kind = decision.simulated ? "simulated" : "enforced";
  const { noun, done } = deed(decision);
  if (decision.status === "active" && stop() && !decision.simulated) return [`${noun} held back`, "simulated"];
  if (decision.status === "active") return [decision.simulated ? `${noun} simulated` : done, kind];
  if (decision.status === "lifted") return [`${noun} lifted`, "over"];
  return [decision.status === "expired" ? `${noun} expired` : "Released", "over"];
}

/** What was found out about an alert's source; null where nothing was. */
async function investigation(alert) {
  const { items } = await call(`/investigations?alert=${encodeURIComponent(alert.id)}&limit=1`);
  return items[0] ?? null;
}

// ---- talking to the agent -------------------------------------------------------------------

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "content-type": "application/json" } });
  } catch {
    throw new Error("Sentinel does not answer; is the agent running?");
  }
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  // Logged out elsewhere, or unused for too long.
  if (response.status === 401) location.assign("/login");
  const problem = new Error(body.detail ?? `Sentinel answered ${response.status}`);
  problem.guard = body.guard;
  throw problem;
}

async function unblock(decision) {
  try {
    const { deleted } = await call(`/decisions/${encodeURIComponent(decision.id)}`, { method: "DELETE" });
    for (const one of deleted) take(one);
    return "";
  } catch (error) {
    return error.message;
  }
}

/** Fetches the lists anew; what the stream told meanwhile is newer and stays. */
async function load() {
  try {
    const [newest, decided, active, kept] = await Promise.all([
      call(`/alerts?limit=${PAGE}`),
      call(`/decisions?limit=${PAGE}`),
      call(`/decisions?active=true&limit=${PAGE}`),
      call("/protected"),
    ]);
    const known = new Set(active.items.map((d) => d.id));
    for (const [id, decision] of blocks.items) if (!known.has(id)) blocks.items.delete(id);
    for (const alert of newest.items) alerts.set(alert.id, alert);
    for (const decision of [...decided.items, ...active.items]) take(decision, false);
    state.totals = { alerts: newest.total, blocks: active.total };
    state.cursors = { alerts: newest.next_cursor, blocks: active.next_cursor };
    state.loaded = true;
    showProtected(kept.items);
    showAllowed(call);
    watch();
  } catch (error) {
    state.lost ??= Date.now();
  }
  soon();
}

/** How many are over and watched for a return. */
async function watch() {
  const { total } = await call("/decisions?watched=true&limit=1").catch(() => ({}));
  if (total !== undefined) say($("watched"), total ? `${count(total)} on probation` : "");
}

let watching = 0;

/** Asks for it soon, however many ended at once. */
function watchSoon() {
  watching ||= setTimeout(() => {
    watching = 0;
    watch();
  }, 1_000);
}

async function more(list, path, key) {
  const page = await call(`${path}limit=${PAGE}&cursor=${encodeURIComponent(state.cursors[key])}`);
  for (const item of page.items) key === "blocks" ? take(item, false) : list.set(item.id, item);
  state.cursors[key] = page.next_cursor;
  list.render(true);
  soon();
}

/** Notes a decision: among the blocks while it is in force, and as the outcome of its alert. */
function take(decision, counted = true) {
  const known = blocks.items.get(decision.id);
  if (decision.alert) state.outcomes.set(decision.alert, decision);
  if (decision.status === "active" && decision.action !== "log_only") {
    blocks.set(decision.id, { ...known, ...decision });
    if (!known && counted) state.totals.blocks += 1;
  } else if (known) {
    blocks.items.delete(decision.id);
    if (counted) state.totals.blocks = Math.max(0, state.totals.blocks - 1);
  }
  if (state.outcomes.size > 2_000) state.outcomes.delete(state.outcomes.keys().next().value);
}

// ---- the stream -----------------------------------------------------------------------------

let delay = 1_000;

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream`);
  socket.addEventListener("message", ({ data }) => {
    state.heard = Date.now();
    hear(JSON.parse(data));
    soon();
  });
  socket.addEventListener("close", () => {
    state.lost ??= Date.now();
    soon();
    // Tells whether it is the session that is over.
    call("/session").catch(() => {});
    setTimeout(connect, delay);
    delay = Math.min(delay * 1.6, 10_000);
  });
}

function hear(message) {
  switch (message.type) {
    case "hello":
      if (state.started && message.started !== state.started) return location.reload();
      state.started = message.started;
      state.lost = null;
      delay = 1_000;
      chart.restart();
      before = null;
      recall();
      load();
      break;
    case "lagged":
      load();
      break;
    case "health":
      state.health = message.data;
      break;
    case "stats":
      count_up(message.data);
      if (state.health) state.health.acting = message.data.acting;
      break;
    case "alert":
      if (!alerts.items.has(message.data.id)) state.totals.alerts += 1;
      alerts.set(message.data.id, message.data);
      announce(message.data);
      break;
    case "investigation":
      alerts.rows.get(message.data.alert)?.found(message.data);
      break;
    case "decision":
      take(message.data);
      if (message.data.status !== "active") watchSoon();
      break;
  }
}

let before = null;
let recalled = false;

function count_up(stats) {
  state.stats = stats;
  const at = Date.parse(stats.at);
  state.skew = Date.parse(stats.now) - Date.now();
  const t = stats.totals;
  if (stats.interfaces.length && recalled) sample({
    at,
    passed: t.pass_v4 + t.pass_v6 + t.pass_other,
    dropped: t.drop_v4 + t.drop_v6 + t.drop_hidden,
    would: t.would_drop + t.would_limit,
    bytes:
      t.pass_v4_bytes + t.pass_v6_bytes + t.pass_other_bytes + t.drop_v4_bytes + t.drop_v6_bytes + t.drop_hidden_bytes +
      t.redirect_v4_bytes + t.redirect_v6_bytes + t.answer_v4_bytes + t.answer_v6_bytes,
  });
  for (const [id, hits] of Object.entries(stats.hits ?? {})) {
    const known = blocks.items.get(id);
    if (known) {
      const { packets, bytes, would_packets, would_bytes, last_hit } = hits;
      Object.assign(known, { hits: packets, hit_bytes: bytes, would_hits: would_packets, would_hit_bytes: would_bytes, last_hit });
    }
  }
}

/** From totals to rates: two samples make a point of the chart. */
function sample(now) {
  const { at } = now;
  if (before && at > before.at && now.passed >= before.passed) {
    const per = (key) => ((now[key] - before[key]) * 1000) / (at - before.at);
    state.rates = { at, passed: per("passed"), dropped: per("dropped"), would: per("would"), bits: per("bytes") * 8 };
    chart.add(state.rates);
  }
  if (!before || at > before.at) before = now;
}

/** What happened before this page was opened; live counters wait for it, so that time runs one way. */
async function recall() {
  recalled = false;
  const { items } = await call("/stats/history").catch(() => ({ items: [] }));
  for (const { at, passed, dropped, would_drop, bytes } of items) {
    sample({ at: Date.parse(at), passed, dropped, would: would_drop, bytes });
  }
  recalled = true;
}

// ---- announcing -----------------------------------------------------------------------------

let unsaid = [];

function announce(alert) {
  unsaid.push(alert);
  if (unsaid.length > 1) return;
  // Coalesced: a screen reader must not be flooded by a scan.
  setTimeout(() => {
    const worst = unsaid.find((a) => a.severity === "high") ?? unsaid[0];
    const more = unsaid.length > 1 ? `${unsaid.length} new alerts, among them: ` : "New alert: ";
    say($("announce"), `${more}${worst.severity}, ${words(worst.detector)}. ${worst.summary}`);
    unsaid = [];
  }, 2_000);
}

// ---- drawing --------------------------------------------------------------------------------

let planned = false;

function soon() {
  if (planned) return;
  planned = true;
  setTimeout(() => {
    planned = false;
    render();
  }, FRAME);
}

function render() {
  showTop();
  showNotices();
  if (state.stats) showStats(state.stats);
  alerts.render();
  blocks.render();
  for (const [name, list, nothing] of [
    ["alerts", alerts, "No alerts. Sentinel speaks up when a source scans, floods or guesses passwords."],
    ["blocks", blocks, "Nobody is blocked, limited or redirected."],
  ]) {
    say($(`${name}-empty`), state.loaded ? nothing : state.lost ? "Not loaded: no connection to the agent." : "Loading…");
    $(`${name}-empty`).hidden = list.rows.size > 0;
    $(`${name}-more`).hidden = !state.cursors[name];
    say($(`${name}-count`), state.totals[name] ? compact(state.totals[name]) : "");
  }
  const active = state.totals.blocks ? ` · ${compact(state.totals.blocks)} in force` : "";
  document.title = `${state.lost ? "(offline) " : ""}Sentinel${active}`;
  chart.draw();
}

const MODES = {
  simulation: ["Simulation", "Nothing is dropped, limited or redirected; it is only counted."],
  production: ["Production", "Decisions are enforced in the kernel."],
};

/** What the form's button says, by what is asked for. */
const ASKED = { block: "Block", rate_limit: "Limit", redirect: "Redirect", isolate: "Isolate" };

function showTop() {
  const mode = state.health?.mode ?? state.stats?.mode;
  if (mode) {
    const [name, meaning] = MODES[mode];
    showActing(state.health ?? state.stats, mode);
    const halted = stop();
    $("mode").dataset.mode = halted ? "stopped" : mode;
    say($("mode").firstElementChild, halted ? "Stopped" : name);
    say($("mode").lastElementChild, halted ? `Nothing is carried out, only counted: ${halted.actor} stopped it (${halted.reason}).` : meaning);
    say($("f-submit"), `${ASKED[$("f-type").value]}${mode === "simulation" || halted ? " (simulated)" : ""}`);
  }
  const stale = !state.lost && state.heard && Date.now() - state.heard > 5_000;
  const status = state.lost ? "lost" : stale ? "stale" : state.health ? state.health.status : "loading";
  const text = { lost: "Disconnected", stale: "No news", ok: "Healthy", degraded: "Degraded", loading: "Connecting…" };
  $("status").dataset.state = status;
  say($("status").lastElementChild, text[status]);
  document.body.dataset.live = state.lost || stale ? "no" : "yes";
  const up = state.started && !state.lost ? ` · up ${span(clock() - Date.parse(state.started))}` : "";
  say($("about"), state.stats ? `v${state.stats.version}${up}` : "");
}

function showNotices() {
  const notices = [];
  if (state.lost) {
    const when = new Date(state.heard || state.lost).toLocaleTimeString();
    notices.push(["bad", "No connection to the agent.", `What you see is from ${when}. Is the agent still running? Trying again…`]);
  }
  for (const [part, condition] of Object.entries(state.health?.components ?? {})) {
    if (condition.state === "degraded") notices.push(["warn", `${words(part)}: ${condition.cause}.`, `${words(condition.mend)}.`]);
  }
  const text = JSON.stringify(notices);
  if ($("notices").dataset.text === text) return;
  $("notices").dataset.text = text;
  $("notices").replaceChildren(...notices.map(([kind, what, mend]) => make("p", `notice ${kind}`, make("strong", "", what), ` ${mend}`)));
}

function showStats(stats) {
  const { totals } = stats;
  const simulated = stats.mode === "simulation" || stop() !== null;
  const rates = state.rates;
  say($("t-passed"), rates ? compact(rates.passed) : "–");
  say($("t-dropped-name"), simulated ? "Would drop" : "Dropped");
  say($("t-dropped"), rates ? compact(simulated ? rates.would : rates.dropped) : "–");
  const [volume, unit] = bits(rates?.bits ?? 0);
  say($("t-bits"), rates ? volume : "–");
  say($("t-bits-unit"), unit);
  say($("t-flows"), compact(stats.flows_active));
  say($("t-sources"), `active, ${compact(stats.sources_active)} sources`);
  const inside = stats.lost.reduce((sum, l) => sum + l.items, 0);
  const lost = totals.event_lost + inside;
  say($("t-lost"), compact(lost));
  say($("t-lost-where"), lost ? `${compact(totals.event_lost)} ring, ${compact(inside)} agent` : "since start");
  $("tile-lost").dataset.level = lost ? "warn" : "fine";
  const dropped = totals.drop_v4 + totals.drop_v6 + totals.drop_hidden;
  say($("t-total-name"), simulated ? "Would have dropped" : "Dropped in all");
  const would = totals.would_drop + totals.would_limit;
  say($("t-total"), compact(simulated ? would : dropped));
  $("legend-would").hidden = !simulated && would === 0;
  $("legend-dropped").hidden = simulated && dropped === 0;
  showKernel(stats);
}

const meters = new Map();

const MAPS = {
  BLOCK4: "Blocked IPv4",
  BLOCK6: "Blocked IPv6",
  BLOCK_NET4: "Prefixes IPv4",
  BLOCK_NET6: "Prefixes IPv6",
  ALLOW4: "Allowed IPv4",
  ALLOW6: "Allowed IPv6",
  FLOWS: "Flows",
  EVENTS: "Event ring",
};

/** Verdicts beyond pass and drop, and the counters that make them up. */
const VERDICTS = [
  ["Dropped over a rate limit", ["drop_limit"]],
  ["Dropped over the kernel’s own limit", ["drop_reflex"]],
  ["Dropped by lists", ["drop_list"]],
  ["Sent to the honeypot", ["redirect_v4", "redirect_v6"]],
  ["Dropped, as the honeypot cannot be reached", ["redirect_failed"]],
  ["SYNs answered with a cookie", ["answer_v4", "answer_v6"]],
  ["Dropped on their way out", ["egress_drop_v4", "egress_drop_v6"]],
  ["Would be dropped over a limit", ["would_limit"]],
  ["Would be sent to the honeypot", ["would_redirect"]],
  ["Would be dropped on their way out", ["egress_would_drop"]],
  ["Thresholds crossed", ["reflex_raised"]],
  ["Returned on probation", ["returned"]],
];

function showKernel(stats) {
  const text = JSON.stringify(stats.interfaces.map((i) => [i.name, i.xdp_mode, i.egress]));
  const list = $("interfaces");
  if (stats.interfaces.length && list.dataset.text !== text) {
    list.dataset.text = text;
    list.replaceChildren(...stats.interfaces.map((i) => {
      const chip = make("span", "chip", i.xdp_mode === "none" ? "not attached" : i.xdp_mode === "tc" ? "tc ingress" : `XDP ${i.xdp_mode}`);
      chip.dataset.kind = i.xdp_mode === "native" ? "enforced" : i.xdp_mode === "none" ? "failed" : "vetoed";
      return make("li", "line", make("span", "address", i.name), chip, make("span", "quiet", i.egress ? "both directions" : "incoming only"));
    }));
  }
  // Beyond dropping: only what has happened is worth a line.
  const rows = VERDICTS.map(([name, keys]) => [name, keys.reduce((sum, key) => sum + (stats.totals[key] ?? 0), 0)]).filter(([, n]) => n > 0);
  const shown = JSON.stringify(rows);
  if ($("verdicts").dataset.text !== shown) {
    $("verdicts").dataset.text = shown;
    $("verdicts").hidden = rows.length === 0;
    $("verdicts").replaceChildren(...rows.map(([name, n]) => {
      const figure = make("span", "number", compact(n));
      figure.title = `${count(n)} since the start`;
      return make("li", "", make("span", "", name), figure);
    }));
  }
  for (const [name, { entries, capacity }] of Object.entries(stats.maps)) {
    const label = `${count(entries)} of ${count(capacity)}`;
    if (!meters.has(name)) {
      const parts = { bar: meter(0, ""), figure: make("span", "quiet number") };
      meters.set(name, parts);
      $("maps").append(make("li", "", make("span", "", MAPS[name] ?? words(name.toLowerCase())), parts.bar, parts.figure));
    }
    const { bar, figure } = meters.get(name);
    fill(bar, capacity ? entries / capacity : 0, label);
    say(figure, `${compact(entries)} / ${compact(capacity)}`);
    figure.title = label;
  }
}

function showProtected(items) {
  const rows = items.slice(0, 200).map((p) => {
    const name = make("span", "address", target(p.target));
    return make("li", "", make("span", "line", name, make("span", "quiet", words(p.guard))), make("span", "why", p.reason));
  });
  $("protected-list").replaceChildren(...rows);
  say($("protected-count"), items.length ? compact(items.length) : "");
  say($("protected-empty"), items.length ? "" : "The agent has not named any protected address yet.");
  $("protected-empty").hidden = items.length > 0;
}

// ---- the form -------------------------------------------------------------------------------

$("block-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = $("form-said");
  const button = $("f-submit");
  button.disabled = true;
  say(said, "");
  try {
    const type = $("f-type").value;
    const wish = { target: $("f-target").value.trim(), type, duration: $("f-duration").value, reason: $("f-reason").value };
    if (type === "block" && $("f-egress").checked) wish.egress = true;
    if (type === "rate_limit") {
      if ($("f-packets").value) wish.packets = $("f-packets").valueAsNumber;
      if ($("f-kib").value) wish.bytes = $("f-kib").valueAsNumber * 1024;
      wish.burst = $("f-burst").value;
      if ($("f-each").checked) wish.each = true;
    }
    const decision = await call("/decisions", { method: "POST", body: JSON.stringify(wish) });
    take(decision);
    said.dataset.kind = "good";
    const done = deed(decision).done.toLowerCase();
    const counted = decision.simulated || decision.held_back;
    say(said, `${target(decision.target)} is ${done}${counted ? " in simulation: its packets are counted, and pass" : ""}.`);
    $("f-target").value = $("f-reason").value = "";
  } catch (error) {
    said.dataset.kind = "bad";
    say(said, error.guard ? `Refused by guard “${words(error.guard)}”: ${error.message}` : error.message);
    $("f-target").focus();
  }
  button.disabled = false;
  blocks.render(true);
  soon();
});

function showForm() {
  const type = $("f-type").value;
  $("f-rate").hidden = $("f-rate").disabled = type !== "rate_limit";
  $("f-egress-label").hidden = type !== "block";
  soon();
}

$("f-type").addEventListener("change", showForm);
showForm();

$("alerts-more").addEventListener("click", () => more(alerts, "/alerts?", "alerts").catch(() => (state.lost ??= Date.now())));
$("blocks-more").addEventListener("click", () => more(blocks, "/decisions?active=true&", "blocks").catch(() => (state.lost ??= Date.now())));

/** Who is logged in, and the way out. */
async function showWho() {
  const { actor, role, session } = await call("/session");
  say($("who"), `${actor} · ${role}`);
  $("logout").hidden = !session;
}

$("logout").addEventListener("click", async () => {
  await call("/logout", { method: "POST" }).catch(() => {});
  location.assign("/login");
});

showWho().catch(() => {});
keepModel(call, clock);
keepOperate(call, load);
connect();
// Countdowns and "ago" go on between messages.
setInterval(soon, 1_000);
// The protected list follows the host's addresses, which seldom change.
setInterval(() => call("/protected").then(({ items }) => showProtected(items)).catch(() => {}), 30_000);
