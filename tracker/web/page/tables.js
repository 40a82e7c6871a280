/* The chart in letters: its newest candles, and the stretches without a price. */

import { MINUTE } from "./buckets.js";
import { el, find } from "./dom.js";
import { bothTimes, grouped, span, when } from "./words.js";

const ROWS = 16;
const LONG = 10; // characters of a price
const NEAR = 5 * MINUTE;
const REASONS = { not_polled: "nobody asked" };

/* slots: as Series gives them, the oldest first */
export function showLatest(slots, interval) {
  const newest = slots.filter((slot) => slot.candle).slice(-ROWS).reverse();
  find("latest").replaceChildren(...newest.map((slot) => row(slot, interval)));
  const long = newest.some(({ candle }) => Math.max(candle.open.length, candle.low.length) > LONG);
  find("latest").parentElement.classList.toggle("long", long);
}

function row({ start, candle, state }, interval) {
  const mark = state === "whole" ? [] : [el("i", { class: `key ${state}`, title: state })];
  const note = mark.length ? [el("span", { class: "hidden" }, ` (${state})`)] : [];
  const title = bothTimes(start);
  const time = el("th", { scope: "row", title }, clock(start, interval), ...mark, ...note);
  const numbers = [candle.open, candle.high, candle.low, candle.close].map(digits);
  return el("tr", {}, time, ...numbers);
}

/* All of them; those beyond cents are small. */
function digits(number) {
  const text = grouped(number);
  const cents = text.indexOf(".") + 3;
  return el("td", {}, text.slice(0, cents), el("small", {}, text.slice(cents)));
}

function clock(start, interval) {
  if (interval === "1M") return when(start, "month", "UTC");
  if (interval === "1d" || interval === "1w") return when(start, "date", "UTC");
  return when(start, interval.endsWith("h") ? "weekday" : "time");
}

/* gaps: as the API gives them, the newest first */
export function showGaps(gaps) {
  const shown = together(gaps).slice(0, ROWS).map((gap) => {
    const why = el("span", { class: "quiet" }, reason(gap));
    return el("li", {}, el("b", {}, stretch(gap)), " ", why);
  });
  const none = el("li", { class: "quiet" }, "None in view.");
  find("gaps").replaceChildren(...(shown.length ? shown : [none]));
}

/* A repair from 5-minute averages leaves many small gaps of what was one: they are told as one. */
function together(gaps) {
  const found = [];
  for (const gap of gaps) {
    const last = found.at(-1);
    const near = last && Date.parse(last.from) - Date.parse(gap.to) <= NEAR;
    if (near && last.reason === gap.reason) {
      [last.from, last.minutes] = [gap.from, last.minutes + gap.minutes];
    } else found.push({ ...gap });
  }
  return found;
}

function stretch({ from, to, minutes }) {
  const [start, end] = [Date.parse(from), Date.parse(to)];
  if (minutes === 1) return when(start, "moment");
  const form = when(start, "date") === when(end, "date") ? "time" : "moment";
  return `${when(start, "moment")} – ${when(end, form)}`;
}

const reason = ({ minutes, ...gap }) =>
  `${minutes < 120 ? `${minutes} min` : span(minutes * 60)} missing: ${cause(gap)}`;
export const cause = (gap) => REASONS[gap.reason] ?? gap.reason.replaceAll("_", " ");
