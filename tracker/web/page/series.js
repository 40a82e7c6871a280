/* The candles of one index and interval, and the state of each bucket: complete, repaired or missing. */

import { apiUrl, fetchPage, fetchRows, now } from "./api.js";
import { DAY, HOUR, MINUTE, bucketEnd, bucketStart, countExpected } from "./buckets.js";

const MAX_SLOTS = 20_000;
const MAX_PAGES = 21; // of candles: enough for MAX_SLOTS
const MAX_PARTIAL_HOURS = 12; // repaired in part, and therefore read minute by minute
const RECENT = 3 * MINUTE; // an older change is a repair
const STATE_LIFETIME = 2 * MINUTE;
const POLL_DELAY = 90_000; // milliseconds until a minute without a price is missing

export class Series {
  #statesAt = 0;

  constructor(ticker, interval, since) {
    Object.assign(this, { ticker, interval, since });
    this.candles = new Map();
    this.repaired = new Map(); // start of a minute, hour or day: its length
    this.gaps = [];
    this.olderUrl = null;
  }

  get oldest() {
    return Math.min(...this.candles.keys());
  }

  /* Load the newest *count* candles. */
  async load(count) {
    const { ticker, interval } = this;
    let url = apiUrl("prices/candles", { ticker, interval, limit: Math.min(count, 1000) });
    while (url && this.candles.size < count) url = await this.#loadPage(url);
    this.olderUrl = url;
    await this.#loadStates();
  }

  /* Load the next older page. Returns whether it exists. */
  async loadOlder() {
    if (!this.olderUrl) return false;
    const url = this.olderUrl;
    this.olderUrl = null;
    this.olderUrl = await this.#loadPage(url);
    await this.#loadStates();
    return true;
  }

  /* Load the candles from *moment* on again, and the states if they are outdated. */
  async refresh(moment) {
    const { ticker, interval } = this;
    const start_date = new Date(bucketStart(moment, interval)).toISOString();
    const parameters = { ticker, interval, start_date, order: "asc", limit: 1000 };
    this.#addCandles(await fetchRows("prices/candles", parameters, MAX_PAGES));
    const isOutdated = now() - moment > RECENT || now() - this.#statesAt > STATE_LIFETIME;
    if (isOutdated) await this.#loadStates();
  }

  /* Every bucket in ascending order, also those without a candle, which have a place on the axis. */
  slots() {
    if (!this.candles.size) return [];
    const [slots, repairedStarts] = [[], this.#repairedStarts()];
    const due = now() - POLL_DELAY;
    const newest = Math.max(...this.candles.keys());
    const first = Math.max(this.oldest, newest - MAX_SLOTS * bucketEnd(0, this.interval));
    for (let start = first, end; start <= Math.max(due, newest); start = end) {
      end = bucketEnd(start, this.interval);
      const candle = this.candles.get(start) ?? null;
      slots.push({ start, end, candle, state: this.#stateOf(start, candle, repairedStarts, due) });
    }
    while (slots.at(-1).state === "pending") slots.pop();
    return slots;
  }

  #stateOf(start, candle, repairedStarts, due) {
    const expected = countExpected(start, this.interval, this.since, due);
    if (!candle) return expected > 0 ? "missing" : "pending";
    if (candle.samples < expected) return "partial";
    return repairedStarts.has(start) ? "repaired" : "complete";
  }

  #repairedStarts() {
    const starts = new Set();
    for (const [moment, length] of this.repaired) {
      const width = Math.min(length, bucketEnd(0, this.interval));
      for (let part = moment; part < moment + length; part += width) {
        starts.add(bucketStart(part, this.interval));
      }
    }
    return starts;
  }

  async #loadPage(url) {
    const { body, next } = await fetchPage(url);
    this.#addCandles(body);
    return next;
  }

  #addCandles(candles) {
    for (const candle of candles) this.candles.set(Date.parse(candle.created_at), candle);
  }

  /* Load the repaired buckets and the gaps. */
  async #loadStates() {
    if (!this.candles.size) return;
    this.#statesAt = now();
    const { ticker } = this;
    const parameters = { ticker, start_date: new Date(this.oldest).toISOString(), limit: 1000 };
    const interval = now() - this.oldest > 60 * DAY ? "1d" : "1h";
    const coverage = await fetchRows("prices/coverage", { ...parameters, interval });
    this.gaps = await fetchRows("prices/gaps", parameters, 1);
    const repaired = coverage.filter((row) => row.chart > 0);
    this.repaired = await this.#refineRepaired(repaired, interval === "1d" ? DAY : HOUR);
  }

  /* For intervals below an hour, replace hours that are repaired in part by their repaired minutes. */
  async #refineRepaired(rows, length) {
    const repaired = new Map(rows.map((row) => [Date.parse(row.from), length]));
    if (bucketEnd(0, this.interval) >= length) return repaired;
    const partial = rows.filter((row) => row.chart * MINUTE < length).slice(0, MAX_PARTIAL_HOURS);
    await Promise.all(partial.map(async (row) => {
      const start = Date.parse(row.from);
      const minutes = await this.#fetchRepairedMinutes(start, start + length);
      repaired.delete(start);
      for (const minute of minutes) repaired.set(minute, MINUTE);
    }));
    return repaired;
  }

  async #fetchRepairedMinutes(start, end) {
    const [start_date, end_date] = [start, end].map((moment) => new Date(moment).toISOString());
    const parameters = { start_date, end_date, order: "asc", include: "source", limit: 1000 };
    const prices = await fetchRows("prices", { ticker: this.ticker, ...parameters }, 2);
    return prices.filter((price) => price.source === "chart").map((price) => Date.parse(price.created_at));
  }
}
