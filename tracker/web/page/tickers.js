/* A card for each index: newest price, its age, and the last 24 hours. */

import { now } from "./api.js";
import { el, find } from "./dom.js";
import { bothTimes, direction, grouped, pair, percent, span } from "./words.js";

const STALE = 180; // seconds; as in the API's readiness

export class Cards {
  #known = new Map();

  /* chosen(ticker) is called when a card is. */
  constructor(chosen) {
    find("tickers").addEventListener("change", (event) => chosen(event.target.value));
    setInterval(() => this.#age(), 1000);
  }

  /* tickers: as /tickers gives them */
  show(tickers, chosen) {
    for (const ticker of tickers) {
      const card = this.#known.get(ticker.ticker) ?? this.#add(ticker.ticker);
      const newer = moment(card.newest) > moment(ticker.newest);
      Object.assign(card, { day: ticker, newest: newer ? card.newest : ticker.newest });
      this.#draw(card);
    }
    this.choose(chosen);
    this.#age();
  }

  choose(ticker) {
    for (const [name, card] of this.#known) card.input.checked = name === ticker;
  }

  /* A price from the stream; older ones are repairs, and change no card. */
  take(price) {
    const card = this.#known.get(price.ticker);
    if (!card || moment(price) < moment(card.newest)) return;
    card.newest = price;
    this.#draw(card);
    this.#age();
  }

  /* "BTC/USD 103,201.56, +1.20 % in 24 hours" */
  words(ticker) {
    const { newest, day } = this.#known.get(ticker) ?? {};
    if (!newest) return `${pair(ticker)}: no price yet`;
    const price = `${pair(ticker)} ${grouped(newest.price)}`;
    const change = day.change_percent_24h;
    return change === null ? price : `${price}, ${percent(change)} in 24 hours`;
  }

  #add(ticker) {
    const input = el("input", { type: "radio", name: "ticker", value: ticker });
    const made = (name) => el("span", { class: name });
    const parts = ["age", "price", "change", "ends"].map((part) => [part, made(part)]);
    const card = { input, ...Object.fromEntries(parts) };
    const name = el("span", { class: "name" }, pair(ticker));
    const face = el("span", { class: "card" }, name, ...parts.map(([, part]) => part));
    find("tickers").append(el("label", {}, input, face));
    this.#known.set(ticker, card);
    return card;
  }

  #draw(card) {
    const { newest, day, price, change, ends } = card;
    price.textContent = newest ? grouped(newest.price) : "no price yet";
    const { change_percent_24h: percents, high_24h: high, low_24h: low } = day;
    change.textContent = percents === null ? "" : `${arrow(percents)} ${percent(percents)} 24h`;
    change.className = `change ${direction(percents)}`;
    const marks = high ? [`H ${grouped(high)}`, `L ${grouped(low)}`] : [];
    ends.textContent = [...marks, ...(day.configured ? [] : ["no longer polled"])].join("  ");
  }

  #age() {
    for (const { newest, age } of this.#known.values()) {
      const seconds = newest ? (now() - Date.parse(newest.created_at)) / 1000 : 0;
      age.textContent = newest ? `${span(seconds)} ago` : "";
      age.title = newest ? `of the minute ${bothTimes(Date.parse(newest.created_at))}` : "";
      age.classList.toggle("stale", seconds > STALE);
    }
  }
}

const moment = (price) => Date.parse(price?.created_at ?? 0);
const arrow = (value) => ({ up: "▲", down: "▼", even: "■" })[direction(value)];
