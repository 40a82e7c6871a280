/* A periodic task that never runs concurrently with itself and is retried after a failure. */

const DEBOUNCE_DELAY = 250; // milliseconds: events within it cause one run
const RETRY_DELAY = 4000;

export class Task {
  #work;
  #period;
  #timer;
  #isRunning = false;
  #isRequested = false;

  /* period: milliseconds from a successful run to the next; null: only on request */
  constructor(work, period = null) {
    this.#work = work;
    this.#period = period;
  }

  /* Request a run. Requests within DEBOUNCE_DELAY, or during a run, cause one. */
  schedule() {
    if (this.#isRunning) this.#isRequested = true;
    else this.#startTimer(DEBOUNCE_DELAY);
  }

  async run() {
    if (this.#isRunning) {
      this.#isRequested = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#isRunning = true;
    const succeeded = await this.#work().then(() => true, () => false);
    this.#isRunning = false;
    const delay = this.#isRequested ? DEBOUNCE_DELAY : succeeded ? this.#period : RETRY_DELAY;
    this.#isRequested = false;
    if (delay !== null) this.#startTimer(delay);
  }

  #startTimer(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.run(), delay);
  }
}
