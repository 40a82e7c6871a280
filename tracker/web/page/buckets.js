/* Time buckets of candles, as the API has them in UTC. Moments are milliseconds since 1970. */

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const FIRST_MONDAY = 4 * DAY; // 1970 began on a Thursday

/* Ascending: defaultInterval takes the first that fits. */
const WIDTHS = {
  "1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
  "1h": HOUR, "4h": 4 * HOUR, "1d": DAY, "1w": 7 * DAY, "1M": 30 * DAY,
};

export const INTERVALS = Object.keys(WIDTHS);
export const CALENDAR_INTERVALS = ["1d", "1w", "1M"];
export const RANGES = { "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "1y": 365 * DAY };
const MAX_CANDLES = 1500; // in one view
const DEFAULT_INTERVALS = { "1h": "1m", "24h": "5m", "7d": "1h", "30d": "4h", "1y": "1d" };

/* The start of the bucket that contains *moment*. */
export function bucketStart(moment, interval) {
  const width = WIDTHS[interval];
  if (interval === "1M") {
    const date = new Date(moment);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  }
  const origin = interval === "1w" ? FIRST_MONDAY : 0;
  return Math.floor((moment - origin) / width) * width + origin;
}

/* The end of the bucket that starts at *start*, which is the start of the next one. */
export function bucketEnd(start, interval) {
  if (interval !== "1M") return start + WIDTHS[interval];
  const date = new Date(start);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
}

/* The length of a range in milliseconds; "all" begins at *since*. */
export const rangeLength = (range, since, now) => RANGES[range] ?? Math.max(now - since, HOUR);

export const countBuckets = (length, interval) => Math.ceil(length / WIDTHS[interval]);

export function defaultInterval(range, length) {
  if (DEFAULT_INTERVALS[range]) return DEFAULT_INTERVALS[range];
  return INTERVALS.find((each) => countBuckets(length, each) <= MAX_CANDLES / 3) ?? "1M";
}

/* *range*, or the longest range that has at most MAX_CANDLES buckets of *interval*. */
export function fitRange(range, interval, since, now) {
  const fits = (each) => countBuckets(rangeLength(each, since, now), interval) <= MAX_CANDLES;
  if (fits(range)) return range;
  return Object.keys(RANGES).filter(fits).at(-1) ?? "1h";
}

/* How many prices a bucket should have: its minutes that are tracked and complete. */
export function countExpected(start, interval, since, now) {
  const end = Math.min(bucketEnd(start, interval), bucketStart(now, "1m"));
  return Math.max(0, (end - Math.max(start, since)) / MINUTE);
}
