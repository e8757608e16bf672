// The agent's clock as far as we know it, and a beat for what counts down.

import { signal } from "../vendor/signals.mjs";

let skew = 0;

/** Learns it from an answer's `now`. */
export const set = (now) => (skew = Date.parse(now) - Date.now());

/** Milliseconds since 1970, by the agent's clock. */
export const clock = () => Date.now() + skew;

/** Beats once a second while the page is looked at. */
export const second = signal(0);
setInterval(() => document.hidden || (second.value += 1), 1_000);
