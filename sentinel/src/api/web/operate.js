// What an operator commands beside blocks: the stop, and the allowlist.

import { $, make, say, target, words } from "./format.js";

/** Whether a person stopped all acting; the stream's health says so. */
let stopped = null;

/** Draws the button; `state` is the latest health or stats. */
export function showActing(state, mode) {
  stopped = state?.acting?.stopped ?? null;
  const button = $("acting");
  button.hidden = !state || (mode !== "production" && !stopped);
  say(button, stopped ? "Resume acting" : "Stop acting");
  button.dataset.stopped = stopped ? "yes" : "no";
}

/** What stands in the banner in place of the mode's meaning while acting is stopped. */
export const stop = () => stopped;

/** Wires the button and the form; `call` asks the agent, `changed` is called when the lists are to be fetched anew. */
export function keep(call, changed) {
  $("acting").addEventListener("click", async () => {
    const button = $("acting");
    button.disabled = true;
    say($("acting-said"), "");
    try {
      const told = await call("/acting", { method: "POST", body: JSON.stringify({ acting: !!stopped, reason: "from the dashboard" }) });
      $("acting-said").dataset.kind = "good";
      say($("acting-said"), `${words(told.says)}.`);
      changed();
    } catch (error) {
      $("acting-said").dataset.kind = "bad";
      say($("acting-said"), error.message);
    }
    button.disabled = false;
  });

  $("allow-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = $("allow-said");
    const button = $("a-submit");
    button.disabled = true;
    say(said, "");
    try {
      const wish = { target: $("a-target").value.trim(), comment: $("a-comment").value };
      if ($("a-duration").value) wish.duration = $("a-duration").value;
      const made = await call("/allowlist", { method: "POST", body: JSON.stringify(wish) });
      said.dataset.kind = "good";
      const ended = made.ended.length ? `; ${made.ended.length} decisions ended with it` : "";
      say(said, `${target(made.target)} is on the allowlist, in the kernel, read back${ended}.`);
      $("a-target").value = $("a-comment").value = "";
      changed();
    } catch (error) {
      said.dataset.kind = "bad";
      say(said, error.message);
      $("a-target").focus();
    }
    button.disabled = false;
    await show(call);
  });
}

/** Fetches and draws the entries that were put there by command. */
export async function show(call) {
  const { items } = await call("/allowlist").catch(() => ({ items: null }));
  if (!items) return;
  const ours = items.filter((entry) => entry.origin === "operator").slice(0, 200);
  $("allow-list").replaceChildren(...ours.map((entry) => {
    const button = make("button", "small", "Remove");
    button.type = "button";
    button.title = `Take ${target(entry.target)} off the allowlist`;
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await call(`/allowlist?target=${encodeURIComponent(entry.target)}`, { method: "DELETE" });
        say($("allow-said"), "");
      } catch (error) {
        $("allow-said").dataset.kind = "bad";
        say($("allow-said"), error.message);
      }
      await show(call);
    });
    const until = entry.expires_at ? `until ${new Date(entry.expires_at).toLocaleString()}` : "for good";
    const line = make("span", "line", make("span", "address", target(entry.target)), make("span", "quiet", until), button);
    return make("li", "", line, make("span", "why", `${entry.comment} (${entry.actor})`));
  }));
}
