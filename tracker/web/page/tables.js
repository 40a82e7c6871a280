/* The chart as text: the selected candle, the newest candles, and the gaps. */

import { MINUTE } from "./buckets.js";
import { formatPrice } from "./decimals.js";
import { byId, createElement } from "./dom.js";
import {
  formatBucket, formatCount, formatDuration, formatLocalAndUtc, formatReason, formatTime,
} from "./format.js";

const MAX_ROWS = 16;
const MAX_PRICE_LENGTH = 10; // characters; longer prices hide the column of the open
const MAX_GAP_DISTANCE = 5 * MINUTE;
const STATE_LABELS = { repaired: "repaired", missing: "no price", partial: "minutes missing" };

/* Show *slot* of *series*, or nothing if it is undefined. Returns the text for screen readers. */
export function showCandle(slot, { ticker, interval, gaps }) {
  if (!slot) {
    byId("candle").replaceChildren();
    return "";
  }
  const time = formatBucket(slot.start, interval);
  const notes = [STATE_LABELS[slot.state], gapReason(slot, gaps)].filter(Boolean);
  const parts = [time, ...candleValues(slot.candle, ticker), ...(notes.length ? [notes.join(": ")] : [])];
  byId("candle").replaceChildren(...parts.map((part, index) =>
    createElement("span", { class: index ? "muted" : "" }, part)));
  return parts.join(", ");
}

function candleValues(candle, ticker) {
  if (!candle) return [];
  const { open, high, low, close, samples } = candle;
  const prices = Object.entries({ O: open, H: high, L: low, C: close });
  return [
    ...prices.map(([label, price]) => `${label} ${formatPrice(price, ticker)}`),
    formatCount(samples, "minute"),
  ];
}

/* The reason of the first gap that overlaps an incomplete slot. */
function gapReason({ start, end, state }, gaps) {
  if (state !== "missing" && state !== "partial") return null;
  const gap = gaps.find((each) => Date.parse(each.from) < end && Date.parse(each.to) >= start);
  return gap && formatReason(gap.reason);
}

/* slots: as Series returns them, the oldest first */
export function showNewestCandles(slots, { ticker, interval }) {
  const newest = slots.filter((slot) => slot.candle).slice(-MAX_ROWS).reverse();
  byId("newest").replaceChildren(...newest.map((slot) => createRow(slot, ticker, interval)));
  const isLong = newest.some(
    ({ candle }) => formatPrice(candle.high, ticker).length > MAX_PRICE_LENGTH);
  byId("newest").parentElement.classList.toggle("long", isLong);
}

function createRow({ start, candle, state }, ticker, interval) {
  const mark = state === "complete" ? [] : [
    createElement("i", { class: `key ${state}`, title: state }),
    createElement("span", { class: "visually-hidden" }, ` (${state})`),
  ];
  const title = formatLocalAndUtc(start);
  const time = createElement("th", { scope: "row", title }, formatStart(start, interval), ...mark);
  const prices = [candle.open, candle.high, candle.low, candle.close].map((price) =>
    createElement("td", { title: price }, formatPrice(price, ticker)));
  return createElement("tr", {}, time, ...prices);
}

function formatStart(start, interval) {
  if (interval === "1M") return formatTime(start, "month", "UTC");
  if (interval === "1d" || interval === "1w") return formatTime(start, "date", "UTC");
  return formatTime(start, interval.endsWith("h") ? "weekday" : "time");
}

/* gaps: as the API returns them, the newest first */
export function showGaps(gaps) {
  const items = mergeGaps(gaps).slice(0, MAX_ROWS).map((gap) =>
    createElement("li", {},
      createElement("b", {}, formatPeriod(gap)), " ",
      createElement("span", { class: "muted" }, describeGap(gap))));
  const none = createElement("li", { class: "muted" }, "No gaps in view.");
  byId("gaps").replaceChildren(...(items.length ? items : [none]));
}

/* Merge near gaps of one reason: a repair from 5-minute averages divides a gap into many small ones. */
function mergeGaps(gaps) {
  const merged = [];
  for (const gap of gaps) {
    const last = merged.at(-1);
    const isNear = last && Date.parse(last.from) - Date.parse(gap.to) <= MAX_GAP_DISTANCE;
    if (isNear && last.reason === gap.reason) {
      [last.from, last.minutes] = [gap.from, last.minutes + gap.minutes];
    } else merged.push({ ...gap });
  }
  return merged;
}

function formatPeriod({ from, to, minutes }) {
  const [start, end] = [Date.parse(from), Date.parse(to)];
  if (minutes === 1) return formatTime(start, "moment");
  const isOneDay = formatTime(start, "date") === formatTime(end, "date");
  return `${formatTime(start, "moment")} – ${formatTime(end, isOneDay ? "time" : "moment")}`;
}

function describeGap({ minutes, reason }) {
  const duration = minutes < 120 ? `${minutes} min` : formatDuration(minutes * 60);
  return `${duration} missing: ${formatReason(reason)}`;
}
