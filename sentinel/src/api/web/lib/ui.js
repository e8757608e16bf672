// What pages are made of. Text from outside only ever becomes text: nothing here takes markup.

import { h, render } from "../vendor/preact.mjs";
import { useEffect, useMemo, useRef, useState } from "../vendor/hooks.mjs";
import { batch, computed, effect, signal } from "../vendor/signals.mjs";
import htm from "../vendor/htm.mjs";
import { ago, moment, span, target, words } from "./format.js";
import { clock, deskClock, second } from "./clock.js";

export { batch, computed, effect, render, signal, useEffect, useMemo, useRef, useState };

export const html = htm.bind(h);

const SHAPES = { high: "▲", medium: "◆", low: "●" };

/** Never by colour alone. */
export function Severity({ of }) {
  return html`<span class="severity" data-severity=${of}><i aria-hidden="true">${SHAPES[of] ?? "●"}</i>${words(of)}</span>`;
}

export function Chip({ kind, children, title }) {
  return html`<span class="chip" data-kind=${kind} title=${title}>${children}</span>`;
}

/** Time since; draws itself anew, and nothing around it. */
export function Ago({ at, id }) {
  second.value;
  return html`<time class="quiet" id=${id} dateTime=${at} title=${moment(at)}>${ago(clock() - Date.parse(at))}</time>`;
}

/** Time until, with a bar where the beginning is known. */
export function Left({ from, until, note = "" }) {
  second.value;
  const left = Date.parse(until) - deskClock();
  const text = left > 0 ? `${span(left)} left${note}` : "expiring";
  const part = from ? left / Math.max(1, Date.parse(until) - Date.parse(from)) : null;
  return html`${part !== null && html`<${Meter} part=${part} label=${text} level="fine" thin />`}
    <span class="left" title=${`until ${moment(until)}`}>${text}</span>`;
}

/** A bar from 0 to 1. */
export function Meter({ part, label, level, thin }) {
  const share = Math.min(1, Math.max(0, part || 0));
  const judged = level ?? (share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "fine");
  return html`<span class=${thin ? "meter thin" : "meter"} role="img" aria-label=${label} data-level=${judged}>
    <i style=${{ width: `${(share * 100).toFixed(1)}%` }}></i></span>`;
}

/** An address or prefix; leads to all that is known of it. */
export function Address({ of, plain }) {
  if (!of) return html`<span class="address">many sources</span>`;
  const name = target(of);
  if (plain) return html`<span class="address">${name}</span>`;
  return html`<a class="address" href=${`#/source/${encodeURIComponent(name)}`}>${name}</a>`;
}

/** What failed, in its own words. */
export function Fault({ text, again }) {
  return text
    ? html`<p class="said" role="alert">${text}${again && html` <button type="button" class="small" onClick=${again}>Try again</button>`}</p>`
    : null;
}

/** A section with a heading. */
export function Card({ title, count, id, tools, kind = "", children }) {
  const name = id ? `${id}-title` : undefined;
  return html`<section class=${`card ${kind}`} id=${id} tabindex="-1" aria-labelledby=${name}>
    <div class="head"><h2 id=${name}>${title}${count ? html` <b class="count">${count}</b>` : null}</h2>${tools}</div>
    ${children}
  </section>`;
}

/** Two clicks, so that one is never enough; `act` resolves, or throws what went wrong. */
export function Sure({ label, question, yes, act, name, kind = "danger", disabled }) {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState("");
  const first = useRef(null);
  const last = useRef(null);
  useEffect(() => {
    if (asking) last.current?.focus();
  }, [asking]);
  const leave = () => {
    setAsking(false);
    setTimeout(() => first.current?.focus());
  };
  const go = async () => {
    setBusy(true);
    setWrong("");
    try {
      await act();
      setAsking(false);
    } catch (error) {
      setWrong(error.message);
      leave();
    }
    setBusy(false);
  };
  return html`<span class="sure">
    ${asking
      ? html`<span class="confirm" onKeyDown=${(e) => e.key === "Escape" && leave()}>
          <span>${question}</span>
          <button type="button" ref=${last} class=${`small ${kind}`} disabled=${busy} onClick=${go}>${busy ? "One moment…" : yes}</button>
          <button type="button" class="small" disabled=${busy} onClick=${leave}>Keep</button>
        </span>`
      : html`<button type="button" ref=${first} class="small ask" disabled=${disabled} aria-label=${name} onClick=${() => setAsking(true)}>${label}</button>`}
    <${Fault} text=${wrong} />
  </span>`;
}

/** A table of summands: bars to the right speak for an attack, to the left against one. Rows are [name, value, sentence]. */
export function Shares({ rows, heads = ["Why", "Adds", "", "In words"] }) {
  const largest = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  return html`<table class="evidence shares">
    <thead><tr>${heads.map((text, place) => (text ? html`<th scope="col" class=${place === 1 ? "number" : undefined}>${text}</th>` : html`<td></td>`))}</tr></thead>
    <tbody>${rows.map(([name, value, said]) => {
      const figure = `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
      return html`<tr><th scope="row">${name}</th><td class="number">${figure}</td>
        <td class="bar"><${Meter} part=${Math.abs(value) / largest} label=${`${name}: ${figure}`} level=${value < 0 ? "against" : "for"} /></td>
        <td class="quiet">${said}</td></tr>`;
    })}</tbody></table>`;
}

/** Names and what stands behind them: [name, content] where there is a content. */
export function Facts({ of }) {
  const known = of.filter(([, content]) => content !== undefined && content !== null && content !== "" && content !== false);
  return known.length ? html`<dl class="facts">${known.map(([name, content]) => html`<dt>${name}</dt><dd>${content}</dd>`)}</dl>` : null;
}

/** Saves a text or blob as a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
