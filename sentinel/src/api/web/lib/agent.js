// Asking the agent, and who we are to it.

import { computed, signal } from "../vendor/signals.mjs";

/** What the agent refused, in its words (RFC 9457). */
export class Refusal extends Error {
  constructor(status, { detail, guard, lines }) {
    super(guard ? `Refused by guard “${guard}”: ${detail}` : (detail ?? `Sentinel answered ${status}`));
    Object.assign(this, { status, guard, lines });
  }
}

async function ask(path, { method = "GET", body, media = "application/json" } = {}) {
  const sent = body === undefined || typeof body === "string" || body instanceof Blob ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, body: sent, headers: { "content-type": media } });
  } catch {
    throw new Error("Sentinel does not answer; is the agent running?");
  }
  if (response.ok) return response;
  // Logged out elsewhere, or unused for too long.
  if (response.status === 401) location.assign("/login");
  throw new Refusal(response.status, await response.json().catch(() => ({})));
}

/** The answer's content. */
export const call = async (path, options) => (await ask(path, options)).json();

/** The answer as a file. */
export const fetchFile = async (path, options) => (await ask(path, options)).blob();

/** The answer as text. */
export const fetchText = async (path) => (await ask(path)).text();

/** `path` with those parameters that say something. */
export function query(path, parameters) {
  const said = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return said.length ? `${path}?${new URLSearchParams(said)}` : path;
}

/** {actor, role, session}. */
export const who = signal(null);

/** A viewer looks; whoever else acts. What the agent refuses stands, whatever a page offers. */
export const mayAct = computed(() => who.value !== null && who.value.role !== "viewer");
export const isAdmin = computed(() => who.value?.role === "admin");

export const learnWho = async () => (who.value = await call("/session"));

export async function logOut() {
  await call("/logout", { method: "POST" }).catch(() => {});
  location.assign("/login");
}
