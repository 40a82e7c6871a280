/* Whether what the page shows is live, and since when it is not. */

import { now } from "./api.js";
import { find } from "./dom.js";
import { when } from "./words.js";

export class Connection {
  #streams = false;
  #answers = true;
  #down = []; // parts of the service
  #last = null; // when something came

  opened() {
    this.#streams = true;
    this.heard();
  }

  lost() {
    this.#streams = false;
    this.#show();
  }

  heard() {
    this.#last = now();
    this.#show();
  }

  /* state: as /health/state gives it */
  answered({ parts }) {
    this.#answers = true;
    this.#down = parts.filter((part) => part.state === "down").map((part) => part.name);
    this.heard();
  }

  /* Nobody answers; whether the stream seemed well until now. */
  silent() {
    const seemed = this.#streams;
    this.#answers = false;
    this.#show();
    return seemed;
  }

  #show() {
    const good = this.#streams && this.#answers;
    const place = find("link");
    place.dataset.state = good ? (this.#down.length ? "impaired" : "up") : "down";
    const words = good ? this.#liveWords() : this.#lostWords();
    const shown = place.firstElementChild;
    if (shown.textContent !== words) shown.textContent = words; // each change is read aloud
  }

  #liveWords() {
    const down = this.#down.join(", ");
    return down ? `Live, but down: ${down}` : "Live";
  }

  #lostWords() {
    const since = this.#last ? `; last data from ${when(this.#last, "second")}` : "";
    return `Connection lost, trying again${since}`;
  }
}
