/* Whether the page is live, and the state of the service: its components, then indexes with failures. */

import { now } from "./api.js";
import { byId, createElement } from "./dom.js";
import { formatCount, formatNumber, formatPair, formatReason, formatTime } from "./format.js";

const MAX_FAILURES = 12; // of indexes

/* The connection is up while the stream is open and the newest request for the state succeeded. */
export class ConnectionStatus {
  #isStreaming = false;
  #isResponding = true;
  #refusal = null;
  #downComponents = [];
  #lastDataAt = null;

  onOpen() {
    this.#isStreaming = true;
    this.#refusal = null;
    this.onData();
  }

  /* refusal: why the server refused the stream, or null */
  onLost(refusal) {
    this.#isStreaming = false;
    this.#refusal = refusal;
    this.#show();
  }

  onData() {
    this.#lastDataAt = now();
    this.#show();
  }

  /* state: as /health/state returns it */
  onState({ parts }) {
    this.#isResponding = true;
    this.#downComponents = parts.filter((part) => part.state === "down").map((part) => part.name);
    this.onData();
  }

  /* The request for the state failed. */
  onFailure() {
    this.#isResponding = false;
    this.#show();
  }

  #show() {
    const isLive = this.#isStreaming && this.#isResponding;
    const place = byId("connection");
    place.dataset.state = isLive ? (this.#downComponents.length ? "impaired" : "up") : "down";
    const text = isLive ? this.#describeLive() : this.#describeLost();
    const label = place.firstElementChild;
    if (label.textContent !== text) label.textContent = text; // screen readers announce each change
  }

  #describeLive() {
    const names = this.#downComponents.join(", ");
    return names ? `Live; down: ${names}` : "Live";
  }

  #describeLost() {
    if (this.#isResponding && this.#refusal) return `Not live, updated every minute; ${this.#refusal}`;
    const last = this.#lastDataAt ? `; last data at ${formatTime(this.#lastDataAt, "second")}` : "";
    return `Connection lost, reconnecting${last}`;
  }
}

/* state: as /health/state returns it; null if the request failed */
export function showService(state) {
  const web = state
    ? { name: "web", state: "up", words: "responds" }
    : { name: "web", state: "down", words: "does not respond" };
  const components = [web, ...(state?.parts ?? [])].map(createComponent);
  const failures = (state?.prices ?? []).flatMap(createFailures);
  const rest = failures.splice(MAX_FAILURES).length;
  if (rest) failures.push(createElement("li", { class: "muted" }, `and ${formatNumber(rest)} more`));
  byId("service").replaceChildren(...components, ...failures);
}

const createComponent = ({ name, state, words }) =>
  createElement("li", { "data-state": state },
    createElement("b", {}, name), " ",
    createElement("span", { class: "verdict" }, state === "failing" ? "" : state), " ",
    createElement("span", { class: "muted" }, words));

function createFailures({ ticker, missing, failing, created_at: newest }) {
  const failures = [];
  if (!newest) failures.push("no price yet");
  else if (missing) failures.push(`${formatCount(missing, "minute")} missing in the last hour`);
  if (failing) failures.push(`last poll failed: ${formatReason(failing)}`);
  if (!failures.length) return [];
  return [createComponent({ name: formatPair(ticker), state: "failing", words: failures.join("; ") })];
}
