/* A card for each index: its newest price and that price's age, and the last 24 hours. */

import { now } from "./api.js";
import { formatPrice } from "./decimals.js";
import { byId, createElement } from "./dom.js";
import {
  directionOf, formatDuration, formatLocalAndUtc, formatPair, formatPercent,
} from "./format.js";

const MAX_AGE = 180; // seconds until a price is stale, as in /health/ready
const MAX_PRICE_LENGTH = 14; // characters in the large font
const ARROWS = { up: "▲", down: "▼", even: "■" };

export class TickerCards {
  #cards = new Map();

  /* onSelect(ticker): the viewer selected an index */
  constructor(onSelect) {
    byId("tickers").addEventListener("change", (event) => onSelect(event.target.value));
    setInterval(() => this.#updateAges(), 1000);
  }

  /* summaries: as /tickers returns them */
  show(summaries, selected) {
    for (const summary of summaries) {
      const card = this.#cards.get(summary.ticker) ?? this.#addCard(summary.ticker);
      const isCurrent = minuteOf(card.newest) >= minuteOf(summary.newest);
      Object.assign(card, { summary, newest: isCurrent ? card.newest : summary.newest });
      this.#draw(card);
    }
    this.select(selected);
    this.#updateAges();
  }

  select(ticker) {
    const { input, face } = this.#cards.get(ticker) ?? {};
    if (!input || input.checked) return;
    input.checked = true;
    face.scrollIntoView({ block: "nearest" });
  }

  has(ticker) {
    return this.#cards.has(ticker);
  }

  /* Show a price of the stream. An older one is a repair and changes no card. */
  update(price) {
    const card = this.#cards.get(price.ticker);
    if (!card || minuteOf(price) < minuteOf(card.newest)) return;
    card.newest = price;
    this.#draw(card);
    this.#updateAges();
  }

  /* "BTC/USD 103,201.56, +1.20 % in 24 hours" */
  describe(ticker) {
    const { newest, summary } = this.#cards.get(ticker) ?? {};
    if (!newest) return `${formatPair(ticker)}: no price yet`;
    const price = `${formatPair(ticker)} ${formatPrice(newest.price, ticker)}`;
    const change = summary.change_percent_24h;
    return change === null ? price : `${price}, ${formatPercent(change)} in 24 hours`;
  }

  #addCard(ticker) {
    const input = createElement("input", { type: "radio", name: "ticker", value: ticker });
    const names = ["age", "price", "change", "extremes"];
    const parts = names.map((name) => [name, createElement("span", { class: name })]);
    const title = createElement("span", { class: "name" }, formatPair(ticker));
    const [age, price, change, extremes] = parts.map(([, part]) => part);
    const rows = [[title, age], [price, change]].map((row) => createElement("span", { class: "row" }, ...row));
    const face = createElement("span", { class: "card" }, ...rows, extremes);
    byId("tickers").append(createElement("label", {}, input, face));
    const card = { input, face, ...Object.fromEntries(parts) };
    this.#cards.set(ticker, card);
    return card;
  }

  #draw({ newest, summary, price, change, extremes }) {
    const { ticker } = summary;
    price.textContent = newest ? formatPrice(newest.price, ticker) : "no price yet";
    price.title = newest?.price ?? "";
    price.classList.toggle("long", price.textContent.length > MAX_PRICE_LENGTH);
    const { change_percent_24h: percent, high_24h: high, low_24h: low } = summary;
    const arrow = ARROWS[directionOf(percent)];
    change.textContent = percent === null ? "" : `${arrow} ${formatPercent(percent)} 24h`;
    change.className = `change ${directionOf(percent)}`;
    const prices = high ? [`H ${formatPrice(high, ticker)}`, `L ${formatPrice(low, ticker)}`] : [];
    extremes.textContent = [...prices, ...(summary.configured ? [] : ["no longer polled"])].join("  ");
  }

  #updateAges() {
    for (const { newest, age } of this.#cards.values()) {
      const seconds = newest ? (now() - minuteOf(newest)) / 1000 : 0;
      age.textContent = newest ? `${formatDuration(seconds)} ago` : "";
      age.title = newest ? `price of the minute ${formatLocalAndUtc(minuteOf(newest))}` : "";
      age.classList.toggle("stale", seconds > MAX_AGE);
    }
  }
}

const minuteOf = (price) => Date.parse(price?.created_at ?? 0);
