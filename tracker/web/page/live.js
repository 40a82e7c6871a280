/* Prices as they are stored, by Server-Sent Events. Source: the HTML standard, section 9.2. */

import { address } from "./api.js";

const FIRST = 1000; // milliseconds until the first new try
const LONGEST = 15000;

export class Live {
  #source;
  #timer;
  #wait = FIRST;
  #missed = false;

  /* on.price(price); on.open(); on.stale(): what was shown must be read anew; on.lost() */
  constructor(tickers, on) {
    this.url = address("prices/stream", { ticker: tickers });
    this.on = on;
    this.#open();
  }

  /* It is known to be dead, although nobody told the browser. */
  retry() {
    this.#lose();
  }

  #open() {
    const source = new EventSource(this.url);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#wait = FIRST;
      this.on.open();
      if (this.#missed) this.on.stale();
      this.#missed = false;
    });
    source.addEventListener("price", (event) => this.on.price(JSON.parse(event.data)));
    source.addEventListener("reset", () => this.on.stale());
    source.addEventListener("dropped", () => this.#lose());
    source.addEventListener("error", () => this.#lose());
  }

  /* The browser's own retry gives up at a 503: we never do. Waits differ, clients come apart. */
  #lose() {
    this.#source.close();
    this.#missed = true;
    this.on.lost();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, LONGEST);
  }
}
