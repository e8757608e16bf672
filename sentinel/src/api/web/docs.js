// Shows /openapi.json to people: what there is to ask, of whom, and what is answered; GET can be tried with one's own session.

const $ = (id) => document.getElementById(id);
const METHODS = ["get", "post", "delete", "put", "patch"];

/** An element with attributes and children; text only ever becomes text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text in which `code` is marked as such. */
function prose(text) {
  return String(text ?? "").split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));
}

let all = {};

const named = (reference) => reference.split("/").pop();

/** A schema's name, linked where it is one of the shapes below. */
function kind(schema) {
  if (!schema) return ["anything"];
  if (schema.$ref) {
    const name = named(schema.$ref);
    return [make("a", { href: `#shape-${name}` }, name)];
  }
  const alternatives = schema.oneOf ?? schema.anyOf;
  if (alternatives) return alternatives.flatMap((one, place) => (place ? [" or ", ...kind(one)] : kind(one)));
  if (schema.allOf) return schema.allOf.flatMap((one, place) => (place ? [" with ", ...kind(one)] : kind(one)));
  if (schema.enum) return [schema.enum.map((word) => JSON.stringify(word)).join(" | ")];
  const types = [schema.type ?? "anything"].flat();
  if (types.includes("array")) return ["list of ", ...kind(schema.items)];
  if (types.includes("object") && schema.additionalProperties) return ["each to ", ...kind(schema.additionalProperties)];
  const range = [
    schema.minimum !== undefined ? `≥ ${schema.minimum}` : "",
    schema.maximum !== undefined ? `≤ ${schema.maximum}` : "",
  ].filter(Boolean).join(", ");
  return [types.join(" or ") + (schema.format ? ` (${schema.format})` : "") + (range ? `, ${range}` : "")];
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

const row = (...cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, ...[cell].flat())));

/** The properties of a shape, with those of the shapes it is made of. */
function properties(schema) {
  const parts = schema.allOf ?? [schema];
  return parts.flatMap((part) => {
    if (part.$ref) return properties(all[named(part.$ref)] ?? {});
    if (part.allOf) return properties(part);
    const required = part.required ?? [];
    return Object.entries(part.properties ?? {}).map(([name, one]) => ({ name, one, required: required.includes(name) }));
  });
}

function fields(schema) {
  const rows = properties(schema).map(({ name, one, required }) =>
    row([make("code", {}, name)], required ? "always" : "", kind(one), prose(one.description)));
  return rows.length ? table(["Name", "", "Type", ""], rows) : make("p", {}, ...kind(schema));
}

function shape(schema) {
  return schema.$ref ? fields(all[named(schema.$ref)] ?? {}) : fields(schema);
}

const media = (content) => Object.entries(content ?? {});

function answers(responses) {
  const rows = Object.entries(responses).map(([status, told]) => {
    const bodies = media(told.content).flatMap(([type, { schema }]) =>
      type === "application/problem+json" ? ["problem"] : [...kind(schema), ` (${type})`]);
    return row([make("code", {}, status)], bodies, prose(told.description));
  });
  return table(["Status", "Body", ""], rows);
}

function example(path, method, operation) {
  const parts = ["curl", "-H 'authorization: Bearer TOKEN'"];
  if (method !== "get") parts.push(`-X ${method.toUpperCase()}`);
  if (operation.requestBody) {
    const [type] = Object.keys(operation.requestBody.content);
    parts.push(`-H 'content-type: ${type}'`, "-d '{…}'");
  }
  return `${parts.join(" ")} '${location.origin}${path}'`;
}

/** A form that asks for real, as whoever is logged in; nothing that acts can be tried from here. */
function trial(path, parameters) {
  const asked = parameters.filter((one) => one.in !== "header");
  const inputs = asked.map((one) => {
    const input = make("input", { name: one.name, autocomplete: "off", spellcheck: "false" });
    input.required = Boolean(one.required);
    return input;
  });
  const labels = asked.map((one, place) => make("label", {}, one.name, inputs[place]));
  const told = make("pre", { hidden: "", tabindex: "0", "aria-label": "The answer" });
  const form = make("form", {}, make("div", { class: "fields" }, ...labels), make("button", { type: "submit" }, "Ask"), told);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let place = path;
    const query = new URLSearchParams();
    asked.forEach((one, index) => {
      const value = inputs[index].value.trim();
      if (one.in === "path") place = place.replace(`{${one.name}}`, encodeURIComponent(value));
      else if (value) query.append(one.name, value);
    });
    const where = query.size ? `${place}?${query}` : place;
    told.hidden = false;
    told.textContent = "…";
    try {
      const response = await fetch(where);
      const text = await response.text();
      told.textContent = `${response.status} ${where}\n\n${pretty(text)}`;
    } catch {
      told.textContent = "The agent does not answer.";
    }
  });
  return form;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function whom(operation) {
  if (operation["x-role"]) return `role ${operation["x-role"]}`;
  return (operation.security ?? []).some((one) => !Object.keys(one).length) ? "anybody" : "role viewer";
}

function operation(path, method, told) {
  const summary = make("summary", {},
    make("span", { class: "method", "data-method": method }, method.toUpperCase()),
    make("b", {}, path), make("span", {}, told.summary ?? ""), make("span", { class: "role" }, whom(told)));
  const details = make("details", { class: "card", id: told.operationId }, summary);
  // What is inside is made when somebody looks.
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector(".inside")) return;
    const inside = make("div", { class: "inside" });
    if (told.description) inside.append(make("p", {}, ...prose(told.description)));
    const parameters = told.parameters ?? [];
    if (parameters.length) {
      const rows = parameters.map((one) => row([make("code", {}, one.name)],
        one.required ? `${one.in}, needed` : one.in, kind(one.schema), prose(one.description)));
      inside.append(make("h3", {}, "Parameters"), table(["Name", "", "Type", ""], rows));
    }
    for (const [type, { schema }] of media(told.requestBody?.content)) {
      inside.append(make("h3", {}, `Body, ${type}`), shape(schema ?? {}));
    }
    inside.append(make("h3", {}, "Answers"), answers(told.responses), make("h3", {}, "From a shell"),
      make("pre", { tabindex: "0", "aria-label": "From a shell" }, example(path, method, told)));
    if (method === "get" && !told.responses["101"]) inside.append(make("h3", {}, "Try it"), trial(path, parameters));
    details.append(inside);
  });
  details.dataset.words = `${method} ${path} ${told.summary} ${told.description ?? ""} ${whom(told)}`.toLowerCase();
  return details;
}

function show(document_) {
  all = document_.components?.schemas ?? {};
  $("about").replaceChildren(...prose(document_.info.description));
  const sections = new Map();
  for (const { name, description } of document_.tags ?? []) {
    const section = make("section", { "aria-label": name }, make("h2", {}, name[0].toUpperCase() + name.slice(1)),
      make("p", {}, ...prose(description)));
    sections.set(name, section);
    $("operations").append(section);
  }
  for (const [path, item] of Object.entries(document_.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      sections.get(item[method].tags[0])?.append(operation(path, method, item[method]));
    }
  }
  for (const name of Object.keys(all).sort()) {
    const details = make("details", { class: "card", id: `shape-${name}` }, make("summary", {}, make("b", {}, name)));
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector(".inside")) return;
      const words = all[name].description;
      details.append(make("div", { class: "inside" }, words ? make("p", {}, ...prose(words)) : null, fields(all[name])));
    });
    $("schemas").append(details);
  }
  $("schemas").hidden = false;
  $("said").textContent = "";
}

/** Opens what a link within the page leads to. */
function follow() {
  const target = location.hash.length > 1 ? $(decodeURIComponent(location.hash.slice(1))) : null;
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

$("find").addEventListener("input", () => {
  const wanted = $("find").value.trim().toLowerCase();
  for (const section of $("operations").children) {
    let shown = 0;
    for (const details of section.querySelectorAll("details")) {
      details.hidden = !details.dataset.words.includes(wanted);
      shown += details.hidden ? 0 : 1;
    }
    section.hidden = shown === 0;
  }
});
addEventListener("hashchange", follow);

try {
  const response = await fetch("/openapi.json");
  if (response.status === 401) location.replace("/login");
  else if (!response.ok) $("said").textContent = `The agent answered with ${response.status}.`;
  else {
    show(await response.json());
    follow();
  }
} catch {
  $("said").textContent = "The agent does not answer.";
}
