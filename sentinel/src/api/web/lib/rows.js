// A list that is live: pages from the agent, then what the stream tells. Rows under the pointer or with the focus hold still.

import { batch, signal } from "../vendor/signals.mjs";
import { useEffect, useMemo } from "../vendor/hooks.mjs";
import { call, query } from "./agent.js";
import { on } from "./live.js";

/** Rows beyond this make the list begin anew, so that an open page does not grow for ever. */
const MOST = 500;

/** What is done beside the kernel, which counts nothing of it. */
export const BESIDE = ["isolate_container", "arp_ban"];

/** How soon the agent is asked again where only it can tell, ms. */
const PATIENCE = 500;

/**
 * One list. `filters` are the agent's parameters; `fits(item)` says the same of an event, or null where only the agent can.
 * A `short` list has one page and no more.
 */
export class Rows {
  constructor({ path, kind, filters = {}, fits = () => true, when = (item) => item.at, limit = 50, short = false }) {
    Object.assign(this, { path, kind, filters, fits, when, limit, short });
    /** What is drawn, newest first. */
    this.view = signal([]);
    this.total = signal(null);
    this.cursor = signal(null);
    /** `loading`, `ready` or `failed`. */
    this.state = signal("loading");
    this.fault = signal("");
    /** How many wait while the list holds still. */
    this.waiting = signal(0);
    this.waiters = new Map();
    this.held = false;
    this.late = false;
    this.turn = 0;
    /** What was told while a page was on its way; the page may be older. */
    this.early = null;
  }

  start() {
    this.load();
    const offs = [
      on(this.kind, (item) => this.hear(item)),
      on("joined", () => this.load()),
      on("lagged", () => this.again()),
      on("hits", (hits) => this.count(hits)),
    ];
    return () => {
      this.turn += 1;
      clearTimeout(this.planned);
      clearTimeout(this.recounting);
      offs.forEach((off) => off());
    };
  }

  ask(more) {
    return call(query(this.path, { ...this.filters, limit: this.limit, ...more }));
  }

  /** The newest page. */
  async load() {
    this.turn += 1;
    const { turn } = this;
    this.early = [];
    try {
      const page = await this.ask({});
      if (turn !== this.turn) return;
      const { early } = this;
      this.early = null;
      batch(() => {
        this.view.value = page.items;
        this.total.value = page.total;
        this.cursor.value = page.next_cursor;
        this.state.value = "ready";
        this.fault.value = "";
        this.waiters.clear();
        this.waiting.value = 0;
        early.forEach((item) => this.hear(item));
      });
    } catch (error) {
      if (turn !== this.turn) return;
      this.early = null;
      batch(() => {
        this.state.value = "failed";
        this.fault.value = error.message;
      });
    }
  }

  /** The page behind the last row. */
  async older() {
    const { turn } = this;
    try {
      const page = await this.ask({ cursor: this.cursor.value });
      if (turn !== this.turn) return;
      const known = new Set(this.view.value.map(({ id }) => id));
      batch(() => {
        this.view.value = [...this.view.value, ...page.items.filter(({ id }) => !known.has(id))];
        this.cursor.value = page.next_cursor;
        this.total.value = page.total;
        this.fault.value = "";
      });
    } catch (error) {
      this.fault.value = error.message;
    }
  }

  hear(item) {
    this.early?.push(item);
    if (this.state.value === "loading") return;
    const place = this.view.value.findIndex(({ id }) => id === item.id);
    const fits = this.fits(item);
    if (fits === null) {
      if (place >= 0) this.view.value = this.view.value.with(place, item);
      this.again();
    } else if (place >= 0) {
      this.change(place, item, fits);
    } else if (this.waiters.has(item.id)) {
      this.waiters.set(item.id, item);
    } else if (!fits) {
      // It may have been counted among those on later pages.
      this.recount();
    } else if (!this.isBehind(item)) {
      this.total.value += 1;
      if (this.held && this.view.value.length) {
        this.waiters.set(item.id, item);
        this.waiting.value = this.waiters.size;
      } else {
        this.put([item]);
      }
    }
  }

  change(place, item, fits) {
    if (fits || this.held) {
      this.view.value = this.view.value.with(place, { ...item, gone: !fits });
      return;
    }
    this.view.value = this.view.value.toSpliced(place, 1);
    this.total.value -= 1;
    if (this.short && this.cursor.value) this.again();
  }

  /** On a page that was not asked for yet. */
  isBehind(item) {
    const last = this.view.value.at(-1);
    return this.cursor.value !== null && last !== undefined && this.when(item) < this.when(last);
  }

  put(items) {
    if (!this.short && this.view.value.length + items.length > MOST) return this.load();
    const sorted = [...items, ...this.view.value];
    sorted.sort((a, b) => (this.when(a) < this.when(b) ? 1 : this.when(a) > this.when(b) ? -1 : 0));
    this.view.value = this.short ? sorted.slice(0, this.limit) : sorted;
  }

  /** The pointer or the focus came or went. */
  hold(held) {
    this.held = held;
    if (!held) this.release();
  }

  release() {
    if (this.late) {
      this.late = false;
      this.load();
      return;
    }
    const waiters = [...this.waiters.values()];
    this.waiters.clear();
    batch(() => {
      this.waiting.value = 0;
      const gone = this.view.value.filter((item) => item.gone);
      if (gone.length) {
        this.view.value = this.view.value.filter((item) => !item.gone);
        this.total.value -= gone.length;
        if (this.short && this.cursor.value) this.again();
      }
      if (waiters.length) this.put(waiters);
    });
  }

  /** Soon, however much happens; a list that holds still waits. */
  again() {
    this.planned ??= setTimeout(() => {
      this.planned = undefined;
      if (this.held && this.view.value.length) this.late = true;
      else this.load();
    }, PATIENCE);
  }

  recount() {
    this.recounting ??= setTimeout(async () => {
      this.recounting = undefined;
      const { turn } = this;
      const page = await this.ask({ limit: 1 }).catch(() => null);
      if (page && turn === this.turn) this.total.value = page.total;
    }, PATIENCE);
  }

  /** What the kernel counted meanwhile. */
  count(hits) {
    const of = this.kind === "decision" ? (item) => hits[item.id] : this.kind === "action" ? (item) => hits[item.decision] : () => null;
    if (!this.view.value.some(of)) return;
    this.view.value = this.view.value.map((item) => {
      const told = of(item);
      if (!told) return item;
      const { packets, bytes, would_packets, would_bytes, last_hit } = told;
      if (this.kind === "action") return this.stands(item) && !BESIDE.includes(item.kind) ? { ...item, hits: packets, would_hits: would_packets } : item;
      return { ...item, hits: packets, hit_bytes: bytes, would_hits: would_packets, would_hit_bytes: would_bytes, last_hit };
    });
  }

  stands({ status }) {
    return status === "enforced" || status === "simulated";
  }
}

/** A list for as long as its page is open; another list for other `options`. */
export function useRows(options) {
  const { path, kind, filters } = options;
  const rows = useMemo(() => new Rows(options), [path, kind, JSON.stringify(filters)]);
  useEffect(() => rows.start(), [rows]);
  return rows;
}
