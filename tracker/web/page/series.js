/* The candles of one index and interval, and what is behind each of them. */

import { address, ask, list, now } from "./api.js";
import { DAY, HOUR, MINUTE, expected, floor, next } from "./buckets.js";

const MOST_SLOTS = 20_000;
const MIXED = 12; // hours that are looked at minute by minute
const PAGES = 21; // as many as slots
const RECENT = 3 * MINUTE; // what changed later is a repair
const OFTEN = 2 * MINUTE;
const LATE = 90_000; // milliseconds; a price that young is not missing yet

export class Series {
  #explained = 0;

  constructor(ticker, interval, since) {
    Object.assign(this, { ticker, interval, since });
    this.candles = new Map();
    this.repaired = new Map(); // start of a minute, hour or day -> its length
    this.gaps = [];
    this.rest = null; // where older candles are
  }

  get oldest() {
    return Math.min(...this.candles.keys());
  }

  /* The newest *count* candles. */
  async load(count) {
    const { ticker, interval } = this;
    let url = address("prices/candles", { ticker, interval, limit: Math.min(count, 1000) });
    while (url && this.candles.size < count) url = await this.#page(url);
    this.rest = url;
    await this.#explain();
  }

  /* A page further back; whether there was one. */
  async older() {
    if (!this.rest) return false;
    const url = this.rest;
    this.rest = null;
    this.rest = await this.#page(url);
    await this.#explain();
    return true;
  }

  /* What changed from *moment* on, and the reasons for what is missing. */
  async refresh(moment) {
    const { ticker, interval } = this;
    const from = new Date(floor(moment, interval)).toISOString();
    const asked = { ticker, interval, start_date: from, order: "asc", limit: 1000 };
    for (const candle of await list("prices/candles", asked, PAGES)) this.#keep(candle);
    const old = now() - moment > RECENT || now() - this.#explained > OFTEN;
    if (old) await this.#explain();
  }

  /* Every bucket in turn, also those without a candle, which have a place on the axis too. */
  slots() {
    if (!this.candles.size) return [];
    const [starts, marked] = [[], this.#repairedStarts()];
    const due = now() - LATE;
    const newest = Math.max(...this.candles.keys());
    const first = Math.max(this.oldest, newest - MOST_SLOTS * (next(0, this.interval)));
    for (let start = first; start <= Math.max(due, newest); start = next(start, this.interval)) {
      const candle = this.candles.get(start) ?? null;
      const end = next(start, this.interval);
      starts.push({ start, end, candle, state: this.#state(start, candle, marked, due) });
    }
    while (starts.at(-1).state === "waiting") starts.pop();
    return starts;
  }

  #state(start, candle, marked, due) {
    const should = expected(start, this.interval, this.since, due);
    if (!candle) return should > 0 ? "missing" : "waiting";
    if (candle.samples < should) return "partial";
    return marked.has(start) ? "repaired" : "whole";
  }

  #repairedStarts() {
    const starts = new Set();
    for (const [moment, length] of this.repaired) {
      const width = Math.min(length, next(0, this.interval));
      for (let part = moment; part < moment + length; part += width) {
        starts.add(floor(part, this.interval));
      }
    }
    return starts;
  }

  async #page(url) {
    const { body, next: following } = await ask(url);
    for (const candle of body) this.#keep(candle);
    return following;
  }

  #keep(candle) {
    this.candles.set(Date.parse(candle.created_at), candle);
  }

  /* Which stretches were repaired, and why others are missing. */
  async #explain() {
    if (!this.candles.size) return;
    this.#explained = now();
    const { ticker } = this;
    const asked = { ticker, start_date: new Date(this.oldest).toISOString(), limit: 1000 };
    const interval = now() - this.oldest > 60 * DAY ? "1d" : "1h";
    const covered = await list("prices/coverage", { ...asked, interval });
    this.gaps = await list("prices/gaps", asked, 1);
    const length = interval === "1d" ? DAY : HOUR;
    this.repaired = await this.#sharp(covered.filter((each) => each.chart > 0), length);
  }

  /* Below an hour, those that are repaired in part are looked at minute by minute. */
  async #sharp(covered, length) {
    const found = new Map(covered.map((each) => [Date.parse(each.from), length]));
    if (next(0, this.interval) >= length) return found;
    const mixed = covered.filter((each) => each.chart * MINUTE < length).slice(0, MIXED);
    await Promise.all(mixed.map((each) => this.#minutes(Date.parse(each.from), length, found)));
    return found;
  }

  async #minutes(start, length, found) {
    const { ticker } = this;
    const ends = { start_date: start, end_date: start + length };
    for (const name of Object.keys(ends)) ends[name] = new Date(ends[name]).toISOString();
    const asked = { ticker, ...ends, order: "asc", include: "source", limit: 1000 };
    const prices = await list("prices", asked, 2);
    found.delete(start);
    for (const price of prices) {
      if (price.source === "chart") found.set(Date.parse(price.created_at), MINUTE);
    }
  }
}
