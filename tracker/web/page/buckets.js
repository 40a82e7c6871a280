/* Where candles begin: the API's buckets, in UTC. Moments are milliseconds since 1970. */

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const MONDAY = 4 * DAY; // 1970 began on a Thursday

const WIDTHS = {
  "1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
  "1h": HOUR, "4h": 4 * HOUR, "1d": DAY, "1w": 7 * DAY, "1M": 30 * DAY,
};

export const INTERVALS = Object.keys(WIDTHS);
export const DAILY = ["1d", "1w", "1M"];
export const RANGES = { "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "1y": 365 * DAY };
const MOST = 1500; // candles in one view
const USUAL = { "1h": "1m", "24h": "5m", "7d": "1h", "30d": "4h", "1y": "1d" };

/* The start of the bucket that contains *moment*. */
export function floor(moment, interval) {
  const width = WIDTHS[interval];
  if (interval === "1M") {
    const date = new Date(moment);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  }
  const origin = interval === "1w" ? MONDAY : 0;
  return Math.floor((moment - origin) / width) * width + origin;
}

/* The start of the bucket after the one that starts at *start*. */
export function next(start, interval) {
  if (interval !== "1M") return start + WIDTHS[interval];
  const date = new Date(start);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
}

/* How long a range is; "all" reaches back to *since*. */
export const length = (range, since, now) => RANGES[range] ?? Math.max(now - since, HOUR);

/* How many buckets a range has. */
export const size = (span, interval) => Math.ceil(span / WIDTHS[interval]);

/* The interval that shows a range best. */
export function usualInterval(range, span) {
  if (USUAL[range]) return USUAL[range];
  return INTERVALS.find((each) => size(span, each) <= MOST / 3) ?? "1M";
}

/* *range*, or the longest one in which candles of *interval* are not too many to see. */
export function fittingRange(range, interval, since, now) {
  const fits = (each) => size(length(each, since, now), interval) <= MOST;
  if (fits(range)) return range;
  return Object.keys(RANGES).filter(fits).at(-1) ?? "1h";
}

/* The minutes of a bucket that are tracked and over: so many prices it should have. */
export function expected(start, interval, since, now) {
  const over = Math.min(next(start, interval), floor(now, "1m"));
  return Math.max(0, (over - Math.max(start, since)) / MINUTE);
}
