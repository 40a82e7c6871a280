/* A periodic task that never runs concurrently with itself and is retried after a failure. While the
   page is hidden only the first run starts; the others wait until it is visible. */

const DEBOUNCE_DELAY = 250; // milliseconds: events within it cause one run
const RETRY_DELAY = 4000;

export class Task {
  #work;
  #period;
  #onFailure;
  #timer;
  #isRunning = false;
  #isRequested = false;

  /* period: milliseconds from a successful run to the next; null: only on request.
     onFailure(error): a run has failed */
  constructor(work, period = null, onFailure = () => {}) {
    this.#work = work;
    this.#period = period;
    this.#onFailure = onFailure;
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
    const succeeded = await this.#work().then(() => true, (error) => {
      this.#onFailure(error);
      return false;
    });
    this.#isRunning = false;
    const delay = this.#isRequested ? DEBOUNCE_DELAY : succeeded ? this.#period : RETRY_DELAY;
    this.#isRequested = false;
    if (delay !== null) this.#startTimer(delay);
  }

  #runWhenVisible() {
    if (!document.hidden) this.run();
    else document.addEventListener("visibilitychange", () => this.#startTimer(0), { once: true });
  }

  #startTimer(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#runWhenVisible(), delay);
  }
}
