/* Change and volatility of an index in the last 24 hours, 7 and 30 days. */

import { apiUrl, fetchPage } from "./api.js";
import { DAY, HOUR, bucketStart } from "./buckets.js";
import { createElement } from "./dom.js";
import { directionOf, formatCount, formatLocalAndUtc, formatPercent } from "./format.js";

const PERIODS = { "24 h": DAY, "7 d": 7 * DAY, "30 d": 30 * DAY };
const NONE = "–";

/* An item for each period of *ticker* at the moment *end*. Throws as fetchPage. */
export async function loadMovement(ticker, end) {
  return Promise.all(Object.entries(PERIODS).map(async ([label, length]) => {
    const start = bucketStart(end - length, "1m");
    const start_date = new Date(start).toISOString();
    const { body } = await fetchPage(apiUrl("prices/stats", { ticker, start_date }));
    return createItem(label, body, Date.parse(body.first_at) - start <= HOUR);
  }));
}

/* statistics: as /prices/stats returns them; isCovered: they begin in the period's first hour */
function createItem(label, statistics, isCovered) {
  const { change_percent: change, realised_volatility: volatility } =
    isCovered ? statistics : { change_percent: null, realised_volatility: null };
  const direction = change === null ? null : directionOf(change);
  const deviation = volatility === null ? NONE : `${(100 * volatility).toFixed(1)} %`;
  return createElement("li", { title: describeSample(statistics) },
    createElement("b", {}, label), " ",
    createElement("span", { class: direction }, change === null ? NONE : formatPercent(change)), " ",
    createElement("span", { class: "muted" }, `volatility ${deviation}`));
}

/* What the values are computed from; a new index has none for longer periods than its own. */
function describeSample({ first_at: first, last_at: last, missing }) {
  if (!first) return "no price";
  const [since, until] = [first, last].map((minute) => formatLocalAndUtc(Date.parse(minute)));
  return `Volatility is annualised; ${since} to ${until}, ${formatCount(missing, "minute")} missing`;
}
