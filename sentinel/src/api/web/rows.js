// Lists that move only when nobody is reading them: a row under the pointer or with the focus holds still.

import { $, ago, count, fill, make, measured, meter, moment, say, share, span, target, words } from "./format.js";
import { stop } from "./operate.js";
import { investigated } from "./risk.js";

const SHAPES = { high: "▲", medium: "◆", low: "●" };
const PROTOCOLS = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6" };
/** Rows kept in the page; older ones are a click away. */
const ROWS = 500;

/** A keyed list: `items` newest first; `build` makes a row with `row.update(item)`. */
export class List {
  constructor(name, build) {
    this.items = new Map();
    this.rows = new Map();
    this.build = build;
    this.element = $(`${name}-list`);
    this.pill = $(`${name}s-new`);
    this.name = name;
    this.held = false;
    this.pending = 0;
    this.element.addEventListener("pointerenter", (event) => (this.held = event.pointerType === "mouse"));
    this.element.addEventListener("pointerleave", () => (this.held = false));
    this.pill.addEventListener("click", () => this.render(true));
  }

  get busy() {
    return this.held || this.element.contains(document.activeElement);
  }

  set(id, item) {
    this.items.set(id, item);
  }

  render(forced = false) {
    for (const [id, row] of this.rows) {
      const item = this.items.get(id);
      if (item) row.update(item);
    }
    const order = [...this.items.values()].sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0)).slice(0, ROWS);
    const wanted = new Set(order.map((item) => item.id));
    const fresh = order.filter((item) => !this.rows.has(item.id)).length;
    const gone = [...this.rows.keys()].filter((id) => !wanted.has(id));
    if (this.busy && !forced && this.rows.size > 0) {
      for (const id of gone) this.rows.get(id).element.classList.add("gone");
      this.pending = fresh;
    } else {
      this.pending = 0;
      for (const id of gone) {
        this.rows.get(id).element.remove();
        this.rows.delete(id);
      }
      this.place(order);
    }
    this.pill.hidden = this.pending === 0;
    if (this.pending) say(this.pill, `${this.pending} new, show`);
    for (const id of this.items.keys()) if (!wanted.has(id) && this.items.size > 2 * ROWS) this.items.delete(id);
  }

  place(order) {
    let before = this.element.firstElementChild;
    for (const item of order) {
      let row = this.rows.get(item.id);
      if (!row) {
        row = this.build(item);
        row.element.classList.remove("gone");
        row.update(item);
        this.rows.set(item.id, row);
      }
      if (row.element === before) before = before.nextElementSibling;
      else this.element.insertBefore(row.element, before);
    }
  }
}

function severity(name) {
  const shape = make("i", "", SHAPES[name] ?? "●");
  shape.setAttribute("aria-hidden", "true");
  const badge = make("span", "severity", shape, words(name));
  badge.dataset.severity = name;
  return badge;
}

/** `outcome(alert)` says what was done about it: [word, kind]; `investigation(alert)` fetches what is known of its source. */
export const alertRow = (clock, outcome, investigation) => (alert) => {
  const time = make("time", "quiet");
  time.dateTime = alert.at;
  time.title = moment(alert.at);
  const done = make("span", "chip");
  const source = make("span", "address", alert.source ?? "many sources");
  const line = make("span", "line", severity(alert.severity), source, make("span", "what", words(alert.detector)), done, time);
  const summary = make("summary", "", line, make("span", "why", alert.summary));
  const details = make("details", "", summary);
  // The inside is made when it is first looked at: a page of closed alerts stays light.
  const known = make("div", "inside");
  const found = (latest) => known.replaceChildren(...(latest ? investigated(latest) : []));
  details.addEventListener("toggle", async () => {
    if (!details.open || details.children.length > 1) return;
    details.append(inside(alert), known);
    if (alert.source) found(await investigation(alert).catch(() => null));
  });
  return {
    element: make("li", "row", details),
    /** More became known. */
    found: (latest) => details.children.length > 1 && found(latest),
    update() {
      say(time, ago(clock() - Date.parse(alert.at)));
      const [word, kind] = outcome(alert);
      say(done, word);
      done.dataset.kind = kind;
      done.hidden = !word;
    },
  };
};

function inside(alert) {
  const body = make("tbody");
  for (const e of alert.evidence) {
    const times = e.threshold > 0 ? e.value / e.threshold : 1;
    const over = times >= 1.05 ? `${measured(Math.round(times * 10) / 10)}× the limit` : "at the limit";
    body.append(
      make("tr", "",
        make("th", "", words(e.name)),
        make("td", "number", measured(e.value)),
        make("td", "number", measured(e.threshold)),
        make("td", "quiet", e.unit),
        make("td", "", over)),
    );
  }
  const head = make("thead", "", make("tr", "", ...["Evidence", "Measured", "Limit", "Unit", ""].map((t) => make("th", "", t))));
  const facts = make("dl", "facts");
  const fact = (name, value) => facts.append(make("dt", "", name), make("dd", "", value));
  fact("Technique", alert.technique);
  fact("Score", measured(alert.score));
  fact("Good for", alert.class === "behaviour" ? "a block (observed behaviour)" : "a log line, and more only where two sources outside agree (statistical)");
  if (alert.targets.length) {
    const service = (t) => (t.port ? `${t.ip.includes(":") ? `[${t.ip}]` : t.ip}:${t.port}` : t.ip) + `/${PROTOCOLS[t.proto] ?? t.proto}`;
    fact("Services", alert.targets.map(service).join(", "));
  }
  fact("Seen", `${moment(alert.at)} by ${alert.sensor}`);
  fact("Id", alert.id);
  const parts = [make("table", "evidence", head, body)];
  if (alert.explanation) parts.push(...taken(alert.explanation));
  return make("div", "inside", ...parts, facts);
}

/** Shares of a score that are shown one by one. */
const SHARES = 8;

/** A model's score, taken apart: bars to the right speak for an attack, to the left against one. */
function taken(explanation) {
  const shown = explanation.shares.slice(0, SHARES);
  const rest = explanation.shares.slice(SHARES);
  const rows = shown.map((s) => [s.name, s.share, s.sentence]);
  if (rest.length) rows.push([`${rest.length} more`, rest.reduce((sum, s) => sum + s.share, 0), "smaller ones, together"]);
  const largest = Math.max(...rows.map(([, share]) => Math.abs(share)), 1e-9);
  const body = make("tbody");
  body.append(share("before anything is known", explanation.base, "what the model says of any flow", largest));
  for (const row of rows) body.append(share(...row, largest));
  const head = make("thead", "", make("tr", "", ...["Why", "Adds", "", "In words"].map((t) => make("th", "", t))));
  const sum = make("p", "", `${explanation.summary}.`);
  const table = make("table", "evidence shares", head, body);
  return explanation.counterfactual ? [sum, table, make("p", "quiet", `${explanation.counterfactual}.`)] : [sum, table];
}

const DEEDS = {
  block_ip: { noun: "Block", done: "Blocked", undo: "Unblock", counted: "dropped", would: "would have been dropped" },
  rate_limit: { noun: "Limit", done: "Limited", undo: "Lift", counted: "over the limit dropped", would: "over the limit would have been dropped" },
  redirect_to_honeypot: { noun: "Redirection", done: "Redirected", undo: "Release", counted: "sent to the honeypot", would: "would have gone to the honeypot" },
  isolate_container: { noun: "Block and isolation", done: "Blocked, its container to be isolated", undo: "Release", counted: "dropped", would: "would have been dropped" },
};

/** What a decision does, in words. */
export const deed = (decision) => DEEDS[decision.action] ?? { noun: words(decision.action), done: words(decision.action), undo: "Release", counted: "met", would: "would have been met" };

function terms({ rate, egress }) {
  if (egress) return "in both directions";
  if (!rate) return "";
  const parts = [];
  if (rate.packets) parts.push(`${count(rate.packets)} ${rate.openings ? "openings" : "packets"}/s`);
  if (rate.bytes) parts.push(rate.bytes % 1024 ? `${count(rate.bytes)} B/s` : `${count(rate.bytes / 1024)} KiB/s`);
  return `to ${parts.join(", ")}${rate.each ? ", each address by itself" : ""}`;
}

/** `unblock(decision)` resolves to "" or to what went wrong. */
export const blockRow = (clock, unblock) => (first) => {
  let decision = first;
  const chip = make("span", "chip");
  const left = make("span", "left");
  const bar = meter(1, "");
  bar.classList.add("thin");
  const hits = make("span", "hits");
  const since = make("span", "quiet");
  const said = make("p", "said");
  said.setAttribute("role", "alert");
  const ask = make("button", "small", "Unblock");
  ask.type = "button";
  const yes = make("button", "small danger", "");
  const what = make("span", "what");
  const no = make("button", "small", "Keep");
  yes.type = no.type = "button";
  const sure = make("span", "confirm", make("span", "", "Let it in again?"), yes, no);
  sure.hidden = true;
  const toggle = (asking) => {
    sure.hidden = !asking;
    ask.hidden = asking;
    (asking ? yes : ask).focus();
  };
  ask.addEventListener("click", () => toggle(true));
  no.addEventListener("click", () => toggle(false));
  sure.addEventListener("keydown", (event) => event.key === "Escape" && toggle(false));
  yes.addEventListener("click", async () => {
    yes.disabled = no.disabled = true;
    say(yes, "Releasing…");
    const wrong = await unblock(decision);
    say(said, wrong);
    say(yes, sureOf(decision));
    yes.disabled = no.disabled = false;
    if (wrong) toggle(false);
    else $("blocks").focus();
  });
  const sureOf = (d) => `Yes, ${deed(d).undo.toLowerCase()}`;
  const who = first.origin === "operator" ? `by ${first.actor}` : `by detector ${words(first.actor)}`;
  const why = make("p", "why", first.reason);
  const element = make("li", "row block",
    make("div", "line", make("span", "address", target(first.target)), what, chip, make("span", "end", ask, sure)),
    why,
    make("p", "line small", hits, since),
    make("p", "line small", bar, left),
    said);
  return {
    element,
    update(latest) {
      const { done, undo, counted, would } = deed(latest);
      if (latest !== decision || !yes.textContent) {
        say(what, `${done} ${terms(latest)}`.trim());
        say(ask, undo);
        ask.setAttribute("aria-label", `${undo} ${target(latest.target)}`);
        if (!yes.disabled) say(yes, sureOf(latest));
      }
      // What is learnt later changes the reason too.
      say(why, latest.reason);
      decision = latest;
      const now = clock();
      element.classList.toggle("gone", latest.status !== "active");
      const counts = latest.simulated || stop() !== null;
      const open = !counts && latest.until_if_confirmed;
      say(chip, latest.simulated ? "Simulated" : counts ? "Held back" : open ? "Provisional" : "Enforced");
      chip.dataset.kind = counts ? "simulated" : "enforced";
      const dropped = counts ? latest.would_hits : latest.hits;
      say(hits, `${count(dropped)} packets ${counts ? would : counted}`);
      hits.dataset.live = latest.last_hit && now - Date.parse(latest.last_hit) < 3_000 ? "yes" : "no";
      say(since, `since ${new Date(latest.at).toLocaleTimeString()} ${who}`);
      since.title = moment(latest.at);
      if (latest.expires_at) {
        const [from, to] = [Date.parse(latest.at), Date.parse(latest.expires_at)];
        const unless = open ? " unless confirmed" : "";
        const text = to > now ? `${span(to - now)} left${unless}` : "expiring";
        say(left, text);
        const then = open ? `${unless}, then until ${moment(open)}` : "";
        left.title = `until ${moment(latest.expires_at)}${then}`;
        fill(bar, (to - now) / Math.max(1, to - from), text);
        bar.dataset.level = "fine";
      }
    },
  };
};
