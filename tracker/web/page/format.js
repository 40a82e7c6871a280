/* Formatting of names, counts, durations and moments; decimals.js has that of prices. */

import { CALENDAR_INTERVALS } from "./buckets.js";

/* "btc_usd" -> "BTC/USD" */
export const formatPair = (ticker) => ticker.toUpperCase().replace("_", "/");

/* 1234 -> "1,234" */
export const formatNumber = (number) => number.toLocaleString("en-US");

/* "0.0123" or 1.23 in per cent -> "+1.23 %" with a typographic minus sign */
export function formatPercent(value) {
  const number = Number(value);
  const sign = number > 0 ? "+" : number < 0 ? "−" : "";
  return `${sign}${Math.abs(number).toFixed(2)} %`;
}

/* The sign of a change: "up", "down" or "even" */
export function directionOf(value) {
  const number = Number(value);
  return number > 0 ? "up" : number < 0 ? "down" : "even";
}

/* Seconds -> "12 s", "3 min", "2 h", "5 d" */
export function formatDuration(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/* 1234, "minute" -> "1,234 minutes" */
export const formatCount = (count, noun) =>
  `${formatNumber(count)} ${noun}${count === 1 ? "" : "s"}`;

/* "exchange_unavailable" -> "exchange unavailable" */
export const formatReason = (reason) => reason.replaceAll("_", " ");

const STYLES = {
  time: { hour: "2-digit", minute: "2-digit" },
  second: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  day: { day: "numeric", month: "short", year: "numeric" },
  weekday: { weekday: "short", hour: "2-digit", minute: "2-digit" },
  date: { day: "numeric", month: "short" },
  monthOnly: { month: "short" },
  year: { year: "numeric" },
  month: { month: "short", year: "numeric" },
  moment: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
};
const formatters = new Map();

/* A moment (milliseconds) in the viewer's zone, or in *zone*. */
export function formatTime(ms, style, zone = undefined) {
  const key = `${style} ${zone}`;
  if (!formatters.has(key)) {
    const options = { ...STYLES[style], hourCycle: "h23", timeZone: zone };
    formatters.set(key, new Intl.DateTimeFormat("en-GB", options));
  }
  return formatters.get(key).format(ms);
}

export const zoneName = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
export const isUtc = () => new Date().getTimezoneOffset() === 0;

/* The start of a bucket: days, weeks and months are UTC, as in the API. */
export function formatBucket(ms, interval) {
  const isCalendar = CALENDAR_INTERVALS.includes(interval);
  return isCalendar ? `${formatTime(ms, "day", "UTC")} UTC` : formatLocalAndUtc(ms);
}

/* "22 Nov, 12:35 (11:35 UTC)", or "22 Nov, 12:35 UTC" if the viewer's zone is UTC */
export function formatLocalAndUtc(ms) {
  const local = formatTime(ms, "moment");
  return isUtc() ? `${local} UTC` : `${local} (${formatTime(ms, "time", "UTC")} UTC)`;
}
