/* How the service does, in words: the parts first, then what each index lacks. */

import { el, find } from "./dom.js";
import { count, pair } from "./words.js";

const NAMES = { up: "works", down: "down", unknown: "not known", lacking: "" };

/* state: as /health/state gives it; null if the API itself does not answer */
export function showService(state) {
  const parts = [web(state), ...(state?.parts ?? [])];
  const shown = [...parts.map(part), ...(state?.prices ?? []).flatMap(lacking)];
  find("service").replaceChildren(...shown);
}

const web = (state) =>
  state
    ? { name: "web", state: "up", words: "answers" }
    : { name: "web", state: "down", words: "does not answer" };

const part = ({ name, state, words }) =>
  el("li", { "data-state": state },
    el("b", {}, name), " ", el("span", { class: "verdict" }, NAMES[state] ?? state), " ",
    el("span", { class: "quiet" }, words));

function lacking({ ticker, missing, failing, created_at: newest }) {
  const words = [];
  if (!newest) words.push("has no price yet");
  else if (missing) words.push(`lacks ${count(missing, "minute")} of the last hour`);
  if (failing) words.push(`newest poll failed: ${failing.replaceAll("_", " ")}`);
  if (!words.length) return [];
  return [part({ name: pair(ticker), state: "lacking", words: words.join("; ") })];
}
