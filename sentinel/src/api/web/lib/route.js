// Where we are: #/page/name?filter=…

import { signal } from "../vendor/signals.mjs";

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...name] = path.split("/");
  let known = "";
  try {
    known = decodeURIComponent(name.join("/"));
  } catch {
    // A broken escape names nothing.
  }
  return { page: page || "home", name: known, query: new URLSearchParams(query) };
}

export const route = signal(read());
addEventListener("hashchange", () => (route.value = read()));

/** The address of a page: filters that are empty are left out. */
export function href(page, name = "", filters = {}) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value)).toString();
  return `#/${page}${name ? `/${encodeURIComponent(name)}` : ""}${query ? `?${query}` : ""}`;
}

/** The filters of this page by these names; empty where they are not set. */
export const filtersOf = (...names) => Object.fromEntries(names.map((name) => [name, route.value.query.get(name) ?? ""]));

/** Another filter of this page, without a step in the browser's history. */
export function refilter(changes) {
  const { page, name, query } = route.value;
  history.replaceState(null, "", href(page, name, { ...Object.fromEntries(query), ...changes }));
  route.value = read();
}
