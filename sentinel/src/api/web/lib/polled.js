// A list that the stream does not tell of: asked for now and then. Rows under the pointer or with the focus hold still.

import { batch, signal } from "../vendor/signals.mjs";
import { useEffect, useMemo } from "../vendor/hooks.mjs";
import { call, query } from "./agent.js";
import { on } from "./live.js";

/** What `List` draws, as `Rows` is; `name(item)` tells one row from another. It has one page, the latest. */
export class Polled {
  constructor({ path, filters = {}, name, limit = 100, period = 2_000 }) {
    Object.assign(this, { path, filters, name, limit, period });
    this.view = signal([]);
    /** The whole answer that the rows are of. */
    this.told = signal(null);
    this.total = signal(null);
    this.cursor = signal(null);
    /** `loading`, `ready` or `failed`. */
    this.state = signal("loading");
    this.fault = signal("");
    /** How many wait while the list holds still. */
    this.waiting = signal(0);
    this.held = false;
    this.next = null;
    this.asking = false;
    this.over = false;
  }

  start() {
    this.over = false;
    this.load();
    const beat = setInterval(() => document.hidden || this.load(), this.period);
    const off = on("joined", () => this.load());
    return () => {
      this.over = true;
      clearInterval(beat);
      off();
    };
  }

  async load() {
    if (this.asking) return;
    this.asking = true;
    try {
      const page = await call(query(this.path, { ...this.filters, limit: this.limit }));
      if (!this.over) this.take(page);
    } catch (error) {
      if (!this.over) {
        batch(() => {
          if (!this.view.value.length) this.state.value = "failed";
          this.fault.value = error.message;
        });
      }
    }
    this.asking = false;
  }

  take(page) {
    const times = new Map();
    // The same name twice would be one row.
    const items = page.items.map((item) => {
      const name = this.name(item);
      times.set(name, (times.get(name) ?? 0) + 1);
      return { ...item, id: `${name} ${times.get(name)}` };
    });
    this.fault.value = "";
    const known = new Set(this.view.value.map(({ id }) => id));
    const fresh = items.filter(({ id }) => !known.has(id)).length;
    if (this.held && known.size && fresh) {
      this.next = { page, items };
      this.waiting.value = fresh;
    } else if (!this.held || !known.size) {
      this.put({ page, items });
    }
  }

  put({ page, items }) {
    batch(() => {
      this.next = null;
      this.view.value = items;
      this.told.value = page;
      this.state.value = "ready";
      this.waiting.value = 0;
    });
  }

  /** The pointer or the focus came or went. */
  hold(held) {
    this.held = held;
    if (!held) this.release();
  }

  release() {
    if (this.next) this.put(this.next);
  }
}

/** A list for as long as its page is open; another list for other filters. */
export function usePolled(options) {
  const { path, filters } = options;
  const rows = useMemo(() => new Polled(options), [path, JSON.stringify(filters)]);
  useEffect(() => rows.start(), [rows]);
  return rows;
}
