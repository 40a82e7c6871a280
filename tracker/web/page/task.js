/* Work that is done again and again: never twice at once, soon again after a failure. */

const SOON = 250; // milliseconds: events that come together cause one run
const AGAIN = 4000;

export class Task {
  #work;
  #every;
  #timer;
  #running = false;
  #wanted = false;

  /* every: milliseconds from one good run to the next; without it, only on demand */
  constructor(work, every = null) {
    this.#work = work;
    this.#every = every;
  }

  /* Run shortly; calls until then are one. */
  soon() {
    if (this.#running) this.#wanted = true;
    else this.#after(SOON);
  }

  async run() {
    if (this.#running) {
      this.#wanted = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#running = true;
    const good = await this.#work().then(() => true, () => false);
    this.#running = false;
    const delay = this.#wanted ? SOON : good ? this.#every : AGAIN;
    this.#wanted = false;
    if (delay !== null) this.#after(delay);
  }

  #after(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.run(), delay);
  }
}
