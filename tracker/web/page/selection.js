/* What the viewer selected. The fragment of the URL holds it, which makes it a link. */

import { INTERVALS, RANGES } from "./buckets.js";

export const RANGE_LABELS = { ...labelsOf(Object.keys(RANGES)), all: "All" };
export const INTERVAL_LABELS = labelsOf(INTERVALS);
export const TYPE_LABELS = { candles: "Candles", line: "Line" };

const DEFAULTS = { ticker: "", range: "24h", interval: "5m", type: "candles" };
const LABELS = { range: RANGE_LABELS, interval: INTERVAL_LABELS, type: TYPE_LABELS };

export function parseSelection() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  if (parameters.has("form")) parameters.set("type", parameters.get("form")); // links of version 0.1
  const isValid = ([name, value]) => name === "ticker" || LABELS[name]?.[value];
  return { ...DEFAULTS, ...Object.fromEntries([...parameters].filter(isValid)) };
}

function labelsOf(values) {
  return Object.fromEntries(values.map((value) => [value, value]));
}

export function saveSelection(selection) {
  history.replaceState(null, "", `#${new URLSearchParams(selection)}`);
}
