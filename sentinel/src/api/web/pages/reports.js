// Reports: what happened in a period, to read here or to take away.

import { Card, html, useRef, useState } from "../lib/ui.js";
import { call, fetchFile } from "../lib/agent.js";
import { save } from "../lib/ui.js";

const FORMATS = { pdf: "PDF", html: "HTML", json: "JSON" };

export function Reports() {
  const form = useRef(null);
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const { since, format } = form.current.elements;
    setBusy(true);
    setSaid(null);
    try {
      const blob = await fetchFile("/reports", { method: "POST", body: { since: since.value, format: format.value } });
      save(blob, `sentinel-${new Date().toISOString().slice(0, 10)}-${since.value}.${format.value}`);
      setSaid(["good", "The report is among your downloads."]);
    } catch (error) {
      setSaid(["bad", error.message]);
    }
    setBusy(false);
  };
  return html`<${Card} title="Report" id="report"><form id="report-form" ref=${form} onSubmit=${submit}>
    <label>Of the last<select name="since" id="r-since"><option value="1d">day</option><option value="7d">7 days</option><option value="30d" selected>30 days</option><option value="90d">90 days</option></select></label>
    <label>As<select name="format" id="r-format">${Object.entries(FORMATS).map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select></label>
    <button type="submit" id="r-submit" disabled=${busy}>${busy ? "Gathering…" : "Make it"}</button>
    ${said && html`<p id="report-said" class="said" role="alert" data-kind=${said[0]}>${said[1]}</p>`}
  </form></${Card}>`;
}
