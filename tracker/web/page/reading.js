/* The candle that is pointed at, in letters: by the pointer, or by the keys of the chart. */

import { DAILY } from "./buckets.js";
import { el, find } from "./dom.js";
import { cause } from "./tables.js";
import { bothTimes, count, grouped, when } from "./words.js";

const STATES = { repaired: "repaired", missing: "no price" };

/* Shows *slot*, or nothing if there is none; returns it as one sentence. */
export function read(slot, interval, gaps) {
  if (!slot) {
    find("reading").replaceChildren();
    return "";
  }
  const day = DAILY.includes(interval);
  const time = day ? `${when(slot.start, "day", "UTC")} UTC` : bothTimes(slot.start);
  const note = [state(slot), reason(slot, gaps)].filter(Boolean).join(": ");
  const parts = [time, ...numbers(slot), ...(note ? [note] : [])];
  const shown = parts.map((words, place) => el("span", { class: place ? "" : "quiet" }, words));
  find("reading").replaceChildren(...shown);
  return parts.join(", ");
}

function numbers({ candle }) {
  if (!candle) return [];
  const { open, high, low, close, samples } = candle;
  const named = Object.entries({ O: open, H: high, L: low, C: close });
  return [...named.map(([name, price]) => `${name} ${grouped(price)}`), count(samples, "minute")];
}

const state = ({ state: name }) => (name === "partial" ? "minutes missing" : STATES[name] ?? "");

/* Why the first gap that touches the slot is there. */
function reason({ start, end, state: name }, gaps) {
  if (name !== "missing" && name !== "partial") return "";
  const found = gaps.find((gap) => Date.parse(gap.from) < end && Date.parse(gap.to) >= start);
  return found ? cause(found) : "";
}
