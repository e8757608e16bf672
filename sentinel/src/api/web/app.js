// The page around the pages: where we are, how it stands, who we are.

import { computed, effect, html, render, useEffect, useRef, useState } from "./lib/ui.js";
import { deskClock, second } from "./lib/clock.js";
import { learnWho, logOut, who } from "./lib/agent.js";
import { sentence, span, words } from "./lib/format.js";
import { connect, health, heard, link, mode, on, started, stats, stopped } from "./lib/live.js";
import { route } from "./lib/route.js";
import { Covered, Following, Stop } from "./parts/acts.js";
import { Actions } from "./pages/actions.js";
import { Alerts } from "./pages/alerts.js";
import { Audit } from "./pages/audit.js";
import { Decisions } from "./pages/decisions.js";
import { Home } from "./pages/home.js";
import { Investigations } from "./pages/investigations.js";
import { Metrics } from "./pages/metrics.js";
import { Model } from "./pages/model.js";
import { Reports } from "./pages/reports.js";
import { Settings } from "./pages/settings.js";
import { Source } from "./pages/source.js";
import { Traffic } from "./pages/traffic.js";

const PAGES = {
  home: ["Home", Home],
  alerts: ["Alerts", Alerts],
  investigations: ["Investigations", Investigations],
  actions: ["Actions", Actions],
  decisions: ["Decisions & allowlist", Decisions],
  traffic: ["Traffic", Traffic],
  metrics: ["Metrics", Metrics],
  model: ["Model", Model],
  reports: ["Reports", Reports],
  settings: ["Settings", Settings],
  audit: ["Audit", Audit],
};

const MODES = {
  simulation: ["Simulation", "Nothing is dropped, limited or redirected; it is only counted."],
  production: ["Production", "Decisions are enforced in the kernel."],
};

/** Nothing heard for this long is no news, ms. */
const SILENCE = 5_000;

const state = computed(() => {
  second.value;
  if (link.value === "lost") return "lost";
  if (heard.value && Date.now() - heard.value > SILENCE) return "stale";
  return health.value?.status ?? "loading";
});

const STATES = { lost: "Disconnected", stale: "No news", ok: "Healthy", degraded: "Degraded", loading: "Connecting…" };

function Mode() {
  const halted = stopped.value;
  if (!mode.value) return html`<p id="mode" class="mode" data-mode="unknown"><strong>Connecting</strong><span></span></p>`;
  const [name, meaning] = MODES[mode.value];
  return halted
    ? html`<p id="mode" class="mode" data-mode="stopped"><strong>Stopped</strong><span>Entries in the kernel only count: ${halted.actor} stopped it (${halted.reason}).</span></p>`
    : html`<p id="mode" class="mode" data-mode=${mode.value}><strong>${name}</strong><span>${meaning}</span></p>`;
}

function Top() {
  second.value;
  const up = started.value && link.value === "live" ? ` · up ${span(deskClock() - Date.parse(started.value))}` : "";
  return html`<header class="top">
    <a class="brand" href="#/" aria-label="Sentinel, home"><img src="/assets/icon.svg" alt="" width="26" height="26" /><h1>Sentinel</h1></a>
    <${Mode} /><${Stop} />
    <p id="status" class="status" data-state=${state.value}><i class="dot" aria-hidden="true"></i><span>${STATES[state.value]}</span></p>
    <p id="about" class="about">${stats.value ? `v${stats.value.version}${up}` : ""}</p>
    <p class="who"><span id="who">${who.value ? `${who.value.actor} · ${who.value.role}` : ""}</span>
      ${who.value?.session && html` <button type="button" class="small" id="logout" onClick=${logOut}>Log out</button>`}</p>
  </header>`;
}

function Navigation() {
  const { page } = route.value;
  const here = useRef(null);
  // On a phone the bar is wider than the screen.
  useEffect(() => here.current?.scrollIntoView({ block: "nearest", inline: "center" }), [page]);
  return html`<nav class="pages" aria-label="Pages"><ul>${Object.entries(PAGES).map(([name, [title]]) => html`<li>
    <a href=${name === "home" ? "#/" : `#/${name}`} ref=${page === name ? here : undefined} aria-current=${page === name ? "page" : undefined}>${title}</a></li>`)}</ul></nav>`;
}

function Notices() {
  const degraded = Object.entries(health.value?.components ?? {}).filter(([, condition]) => condition.state === "degraded");
  const when = new Date(heard.value || Date.now()).toLocaleTimeString();
  return html`<div id="notices" role="status">
    <${Covered} />
    <${Following} />
    ${link.value === "lost" && html`<p class="notice bad"><strong>No connection to the agent.</strong> What you see is from ${when}. Is the agent still running? Trying again…</p>`}
    ${degraded.map(([part, { cause, mend }]) => html`<p key=${part} class="notice warn"><strong>${words(part)}: ${cause}.</strong> ${sentence(mend)}</p>`)}
  </div>`;
}

/** New alerts for ears: coalesced, since a screen reader must not be flooded by a scan. */
function Announcer() {
  const [text, setText] = useState("");
  const unsaid = useRef([]);
  useEffect(() => on("alert", (alert) => {
    unsaid.current.push(alert);
    if (unsaid.current.length > 1) return;
    setTimeout(() => {
      const all = unsaid.current;
      const worst = all.find((a) => a.severity === "high") ?? all[0];
      setText(`${all.length > 1 ? `${all.length} new alerts, among them: ` : "New alert: "}${worst.severity}, ${words(worst.detector)}. ${worst.summary}`);
      unsaid.current = [];
    }, 2_000);
  }), []);
  return html`<p id="announce" class="unseen" aria-live="polite">${text}</p>`;
}

function Nowhere() {
  return html`<section class="card"><p class="empty">There is no such page. <a href="#/">Home</a></p></section>`;
}

function Page() {
  const { page } = route.value;
  const [title, Content] = page === "source" ? [route.value.name, Source] : (PAGES[page] ?? ["Nowhere", Nowhere]);
  const place = useRef(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${title} · Sentinel`;
    // Whoever goes on by keyboard or ear goes on from the new page.
    if (!first.current) place.current.focus();
    first.current = false;
    scrollTo(0, 0);
  }, [page]);
  return html`<main id="page" ref=${place} tabindex="-1" data-page=${page} aria-label=${title}><${Notices} /><${Content} /></main>`;
}

function App() {
  return html`<a class="skip" href="#page" onClick=${(e) => (e.preventDefault(), document.getElementById("page").focus())}>Skip to the page</a>
    <${Top} /><${Navigation} /><${Announcer} /><${Page} />`;
}

effect(() => (document.body.dataset.live = state.value === "lost" || state.value === "stale" ? "no" : "yes"));

addEventListener("keydown", (event) => {
  // As in many consoles: to the search field.
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
    const search = document.getElementById("search");
    if (search) event.preventDefault();
    search?.focus();
  }
});

render(html`<${App} />`, document.getElementById("app"));
learnWho().catch(() => {});
connect();
