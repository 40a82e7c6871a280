/* New prices by Server-Sent Events. Source: the HTML standard, section 9.2. */

import { apiUrl } from "./api.js";

const FIRST_DELAY = 1000; // milliseconds before the first reconnection
const MAX_DELAY = 15000;

export class PriceStream {
  #source;
  #timer;
  #delay = FIRST_DELAY;
  #missedEvents = false;

  /* on.price(price); on.open(); on.stale(): shown data must be fetched again; on.lost() */
  constructor(tickers, on) {
    this.url = apiUrl("prices/stream", { ticker: tickers });
    this.on = on;
    this.#connect();
  }

  #connect() {
    const source = new EventSource(this.url);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#delay = FIRST_DELAY;
      this.on.open();
      if (this.#missedEvents) this.on.stale();
      this.#missedEvents = false;
    });
    source.addEventListener("price", (event) => this.on.price(JSON.parse(event.data)));
    source.addEventListener("reset", () => this.on.stale());
    source.addEventListener("dropped", () => this.reconnect());
    source.addEventListener("error", () => this.reconnect());
  }

  /* Close the connection and open another one after an exponential back-off with jitter, which keeps
     clients from reconnecting together. EventSource's own retry would give up at a 503. */
  reconnect() {
    this.#source.close();
    this.#missedEvents = true;
    this.on.lost();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), this.#delay * (0.75 + Math.random() / 2));
    this.#delay = Math.min(this.#delay * 2, MAX_DELAY);
  }
}
