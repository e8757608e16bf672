// The agent's clocks as far as we know them, and a beat for what counts down.

import { signal } from "../vendor/signals.mjs";

let skew = 0;
let deskSkew = 0;

/** Learns them from counters. */
export function set({ now, desk_now: desk }) {
  skew = Date.parse(now) - Date.now();
  deskSkew = Date.parse(desk) - Date.now();
}

/** Milliseconds since 1970, by the agent's wall clock. */
export const clock = () => Date.now() + skew;

/** The same by the clock that decisions end by. */
export const deskClock = () => Date.now() + deskSkew;

/** Beats once a second while the page is looked at. */
export const second = signal(0);
setInterval(() => document.hidden || (second.value += 1), 1_000);
