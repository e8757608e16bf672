// A live list on a page: its rows, what waits, and its ends.

import { html, useEffect, useRef } from "../lib/ui.js";
import { compact, count } from "../lib/format.js";
import { link } from "../lib/live.js";

/** `row(item)` draws one; `empty` says what it means that there is none. */
export function List({ id, rows, row, empty, label, more = true }) {
  const { view, state, fault, waiting, cursor } = rows;
  const by = useRef({ pointer: false, focus: false }).current;
  const hold = (who, held) => {
    by[who] = held;
    rows.hold(by.pointer || by.focus);
  };
  // Not while the focus stays inside, as when a button takes another's place.
  const left = (event) => event.currentTarget.contains(event.relatedTarget) || hold("focus", false);
  const show = (event) => {
    // A button that goes while it has the focus tells nobody.
    event.currentTarget.blur();
    rows.release();
  };
  // What tells of new rows lies over the list, and within what is held: it must not push rows from under the pointer.
  return html`
    <div class="held" onPointerEnter=${(e) => e.pointerType === "mouse" && hold("pointer", true)} onPointerLeave=${() => hold("pointer", false)} onFocusIn=${() => hold("focus", true)} onFocusOut=${left}>
      ${waiting.value > 0 && html`<div class="above"><button type="button" class="pill" id=${`${id}-new`} onClick=${show}>${waiting.value} new, show</button></div>`}
      <ul class="list" id=${id} aria-label=${label}>
        ${view.value.map((item) => html`<li key=${item.id} class=${item.gone ? "row gone" : "row"}>${row(item)}</li>`)}
      </ul>
    </div>
    ${view.value.length === 0 && html`<p class="empty" id=${`${id}-empty`}>${
      state.value === "ready" ? empty : state.value === "failed" ? `Not loaded: ${fault.value}` : link.value === "lost" ? "Not loaded: no connection to the agent." : "Loading…"}</p>`}
    ${view.value.length > 0 && fault.value && html`<p class="said" role="alert">${fault.value}</p>`}
    ${more && cursor.value && html`<button type="button" class="more" onClick=${() => rows.older()}>Show older ones</button>`}`;
}

/** How many there are in all. */
export const Total = ({ rows }) => (rows.total.value ? html`<b class="count" title=${count(rows.total.value)}>${compact(rows.total.value)}</b>` : null);

/** The filters of a list, as a form that acts at once; `fields` are elements with a name, `set` takes {name: value}. */
export function Filters({ set, children }) {
  const change = ({ target }) => set({ [target.name]: target.type === "checkbox" ? (target.checked ? target.value : "") : target.value.trim() });
  return html`<form class="filters" role="search" autocomplete="off" onSubmit=${(e) => e.preventDefault()} onChange=${change}>${children}</form>`;
}

/** How far back a list reaches. */
export const Since = ({ value }) => html`<label>Since<select name="since" value=${value}>
  <option value="">ever</option><option value="15m">15 minutes</option><option value="1h">1 hour</option><option value="1d">1 day</option>
  <option value="7d">7 days</option><option value="30d">30 days</option></select></label>`;

/** An address or prefix to look for. */
export function Whom({ value }) {
  const field = useRef(null);
  // What is being typed stays while the list around it is drawn anew.
  useEffect(() => void (field.current.value = value), [value]);
  return html`<label>Address or prefix<input name="ip" id="search" ref=${field} type="search" maxlength="64" spellcheck="false" placeholder="203.0.113.0/24" /></label>`;
}
