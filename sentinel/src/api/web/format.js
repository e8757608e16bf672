// Numbers, times and elements for people. Text from outside only ever becomes text.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const count = (n) => whole.format(Math.round(n));
export const compact = (n) => (Math.abs(n) < 10_000 ? whole.format(Math.round(n)) : short.format(n));
export const measured = (n) => exact.format(n);

/** Bits per second as [number, unit]. */
export function bits(n) {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) {
    n /= 1000;
    at += 1;
  }
  return [n < 10 && at > 0 ? n.toFixed(1) : String(Math.round(n)), units[at]];
}

/** A span of milliseconds as its two largest units. */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d) return `${d}d ${h}h`;
  if (h) return `${h}h ${m}m`;
  if (m) return `${m}m ${s % 60}s`;
  return `${s}s`;
}

/** Time since, for a list: coarse, so that it does not flicker. */
export function ago(ms) {
  if (ms < 5_000) return "just now";
  if (ms < 60_000) return `${Math.floor(ms / 5_000) * 5}s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)}m ago`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)}h ago`;
  return `${Math.floor(ms / 86_400_000)}d ago`;
}

/** A moment in the reader's own zone. */
export const moment = (text) => new Date(text).toLocaleString();

/** syn_flood becomes SYN flood. */
export function words(name) {
  const text = String(name).replaceAll("_", " ").replace(/\b(syn|udp|icmp|tcp|ip)\b/g, (short) => short.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A host prefix is shown as the address it is. */
export const target = (net) => String(net).replace(/^([0-9.]+)\/32$|^([0-9a-f:.]+)\/128$/i, "$1$2");

export const $ = (id) => document.getElementById(id);

/** Sets text only where it differs, so that selections and screen readers are left in peace. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An element with a class, text and children. */
export function make(tag, kind = "", ...inside) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...inside);
  return element;
}

/** A bar from 0 to 1. */
export function meter(part, label) {
  const bar = make("i");
  const whole = make("span", "meter", bar);
  whole.setAttribute("role", "img");
  fill(whole, part, label);
  return whole;
}

export function fill(whole, part, label) {
  const share = Math.min(1, Math.max(0, part));
  whole.firstChild.style.width = `${(share * 100).toFixed(1)}%`;
  whole.dataset.level = share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "fine";
  whole.setAttribute("aria-label", label);
}

/** A row of a table of summands: bars to the right speak for an attack, to the left against one. */
export function share(name, value, sentence, largest) {
  const said = `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
  const bar = meter(Math.abs(value) / largest, `${name}: ${said}`);
  bar.dataset.level = value < 0 ? "against" : "for";
  return make("tr", "", make("th", "", name), make("td", "number", said), make("td", "bar", bar), make("td", "quiet", sentence));
}
