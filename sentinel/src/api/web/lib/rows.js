// A list that is live: pages from the agent, then what the stream tells. Rows under the pointer or with the focus hold still.

import { batch, signal } from "../vendor/signals.mjs";
import { useEffect, useMemo } from "../vendor/hooks.mjs";
import { call, query } from "./agent.js";
import { on } from "./live.js";

/** Rows beyond this make the list begin anew, so that an open page does not grow for ever. */
const MOST = 500;

/** Lists that cannot tell by themselves whether an event fits are fetched anew, this often at most, ms. */
const PATIENCE = 500;

/** One list. `filters` are the agent's parameters; `fits(item)` says the same of an event, or null where only the agent can. */
export class Rows {
  constructor({ path, kind, filters = {}, fits = () => true, when = (item) => item.at, limit = 50, loaded = () => {} }) {
    Object.assign(this, { path, kind, filters, fits, when, limit, loaded });
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
    this.turn = 0;
  }

  start() {
    this.load();
    const offs = [
      on(this.kind, (item) => this.hear(item)),
      on("lagged", () => this.load()),
      on("hits", (hits) => this.count(hits)),
    ];
    return () => {
      this.turn += 1;
      clearTimeout(this.planned);
      offs.forEach((off) => off());
    };
  }

  /** The newest page. */
  async load() {
    this.turn += 1;
    const { turn } = this;
    try {
      const page = await call(query(this.path, { ...this.filters, limit: this.limit }));
      if (turn !== this.turn) return;
      batch(() => {
        this.view.value = page.items;
        this.total.value = page.total;
        this.cursor.value = page.next_cursor;
        this.state.value = "ready";
        this.fault.value = "";
        this.waiters.clear();
        this.waiting.value = 0;
      });
      this.loaded(page.items);
    } catch (error) {
      if (turn !== this.turn) return;
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
      const page = await call(query(this.path, { ...this.filters, limit: this.limit, cursor: this.cursor.value }));
      if (turn !== this.turn) return;
      const known = new Set(this.view.value.map(({ id }) => id));
      batch(() => {
        this.view.value = [...this.view.value, ...page.items.filter(({ id }) => !known.has(id))];
        this.cursor.value = page.next_cursor;
        this.total.value = page.total;
        this.fault.value = "";
      });
      this.loaded(page.items);
    } catch (error) {
      this.fault.value = error.message;
    }
  }

  hear(item) {
    if (this.state.value === "loading") return;
    const place = this.view.value.findIndex(({ id }) => id === item.id);
    const fits = this.fits(item);
    if (fits === null && place < 0) return this.again();
    if (place >= 0) {
      if (fits === false && !this.held) {
        this.view.value = this.view.value.toSpliced(place, 1);
        this.total.value -= 1;
      } else {
        this.view.value = this.view.value.with(place, { ...item, gone: fits === false });
      }
    } else if (this.waiters.has(item.id)) {
      this.waiters.set(item.id, item);
    } else if (fits && !this.isBehind(item)) {
      this.total.value += 1;
      if (this.held && this.view.value.length) {
        this.waiters.set(item.id, item);
        this.waiting.value = this.waiters.size;
      } else {
        this.put([item]);
      }
    }
  }

  /** On a page that was not asked for yet. */
  isBehind(item) {
    const last = this.view.value.at(-1);
    return this.cursor.value !== null && last !== undefined && this.when(item) < this.when(last);
  }

  put(items) {
    if (this.view.value.length + items.length > MOST) return this.load();
    const sorted = [...items, ...this.view.value];
    sorted.sort((a, b) => (this.when(a) < this.when(b) ? 1 : this.when(a) > this.when(b) ? -1 : 0));
    this.view.value = sorted;
  }

  /** The pointer came or went. */
  hold(held) {
    this.held = held;
    if (!held) this.release();
  }

  release() {
    const waiters = [...this.waiters.values()];
    this.waiters.clear();
    batch(() => {
      this.waiting.value = 0;
      const gone = this.view.value.filter((item) => item.gone);
      if (gone.length) {
        this.view.value = this.view.value.filter((item) => !item.gone);
        this.total.value -= gone.length;
      }
      if (waiters.length) this.put(waiters);
    });
  }

  again() {
    this.planned ??= setTimeout(() => {
      this.planned = undefined;
      if (!this.held) this.load();
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
      if (this.kind === "action") return this.stands(item) ? { ...item, hits: packets, would_hits: would_packets } : item;
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
