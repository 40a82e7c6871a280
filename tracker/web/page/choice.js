/* What the viewer chose. It stands in the address, so that it can be linked to and comes back. */

import { INTERVALS, RANGES } from "./buckets.js";

export const RANGE_NAMES = { ...named(Object.keys(RANGES)), all: "All" };
export const INTERVAL_NAMES = named(INTERVALS);
export const FORM_NAMES = { candles: "Candles", line: "Line" };

const USUAL = { ticker: "", range: "24h", interval: "5m", form: "candles" };
const KNOWN = { range: RANGE_NAMES, interval: INTERVAL_NAMES, form: FORM_NAMES };

export function readChoice() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const good = [...asked].filter(([name, value]) => name === "ticker" || KNOWN[name]?.[value]);
  return { ...USUAL, ...Object.fromEntries(good) };
}

function named(values) {
  return Object.fromEntries(values.map((value) => [value, value]));
}

export function keepChoice(choice) {
  history.replaceState(null, "", `#${new URLSearchParams(choice)}`);
}
