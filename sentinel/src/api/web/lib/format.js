// Numbers and times for people.

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

const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** A figure near nothing or near one, where the second digit does not suffice. */
export const precise = (n) => fine.format(n);

/** A part of one as a percentage. */
export const percent = (part) => `${exact.format(part * 100)} %`;

/** A number of bytes. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) {
    bytes /= 1024;
    at += 1;
  }
  return `${at ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
}

/** IP protocol numbers by name. */
export const PROTOCOLS = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6" };

/** A service as people write it. */
export function service({ ip, port, proto }) {
  const host = String(ip).includes(":") && port ? `[${ip}]` : ip;
  return `${host}${port ? `:${port}` : ""} ${PROTOCOLS[proto] ?? `protocol ${proto}`}`;
}

/** A sentence with its capital and its stop. */
export function sentence(text) {
  const said = String(text);
  return said ? `${said[0].toUpperCase()}${said.slice(1)}${/[.!?]$/.test(said) ? "" : "."}` : "";
}
