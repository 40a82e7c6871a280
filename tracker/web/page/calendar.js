/* Coverage as a calendar: a column for each week, a square for each day, the newest at the right. */

import { fetchRows } from "./api.js";
import { DAY, bucketStart } from "./buckets.js";
import { byId, createElement } from "./dom.js";
import { formatCount, formatNumber, formatTime } from "./format.js";

const WEEK_WIDTH = 14; // CSS pixels
const WEEK = 7 * DAY;
const MAX_WEEKS = 53;
const KEY_STEPS = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 }; // days

export class CoverageCalendar {
  #days = [];

  constructor() {
    const days = byId("days");
    days.addEventListener("keydown", (event) => this.#moveFocus(event));
    days.addEventListener("focusin", (event) => showDay(event.target));
    days.addEventListener("pointerover", (event) => showDay(event.target));
    new ResizeObserver(() => this.#draw()).observe(days);
  }

  /* now: milliseconds, by the server's clock */
  async load(ticker, now) {
    const first = bucketStart(now, "1w") - (MAX_WEEKS - 1) * WEEK;
    const start_date = new Date(first).toISOString();
    const parameters = { ticker, interval: "1d", start_date, limit: 1000 };
    const rows = await fetchRows("prices/coverage", parameters);
    const byDay = new Map(rows.map((row) => [Date.parse(row.from), row]));
    this.#days = [];
    for (let day = first; day <= now; day += DAY) this.#days.push([day, byDay.get(day)]);
    this.#draw();
  }

  #draw() {
    const weeks = Math.min(MAX_WEEKS, Math.floor(byId("days").clientWidth / WEEK_WIDTH));
    const first = (this.#days.at(-1)?.[0] ?? 0) + DAY - weeks * WEEK;
    const shown = this.#days.filter(([day]) => bucketStart(day, "1w") >= bucketStart(first, "1w"));
    byId("days").replaceChildren(...shown.map(([day, coverage]) => createSquare(day, coverage)));
    byId("months").style.gridTemplateColumns = `repeat(${weeks}, minmax(0, 1fr))`;
    byId("months").replaceChildren(...createMonthLabels(shown));
    const last = byId("days").lastElementChild;
    if (!last) return;
    last.tabIndex = 0;
    showDay(last);
  }

  /* Up and down move by a day, left and right by a week. One square is the tab stop. */
  #moveFocus(event) {
    const squares = [...byId("days").children];
    const current = squares.indexOf(document.activeElement);
    const target = squares[current + KEY_STEPS[event.key]];
    if (current < 0 || !target) return;
    event.preventDefault();
    squares[current].tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }
}

function showDay(square) {
  if (square.title) byId("day").textContent = square.title;
}

/* The name of each month, over the first week that begins in it. */
function createMonthLabels(days) {
  const mondays = days.filter((_, index) => index % 7 === 0);
  const names = mondays.map(([day]) => formatTime(day, "monthOnly", "UTC"));
  return names.flatMap((name, week) => {
    if (name === names[week - 1] || (week === 0 && name !== names[2])) return [];
    const label = createElement("span", {}, name);
    label.style.gridColumn = `${week + 1}`;
    return [label];
  });
}

function createSquare(day, coverage) {
  const title = `${formatTime(day, "day", "UTC")}: ${describeCoverage(coverage)}`;
  const text = createElement("span", { class: "visually-hidden" }, title);
  return createElement("li", { title, tabindex: -1, class: coverageClass(coverage) }, text);
}

/* Shades distinguish a few missing minutes from an outage. */
function coverageClass(coverage) {
  if (!coverage) return "untracked";
  const { ratio, chart, imported, missing } = coverage;
  if (!missing) return chart ? "repaired" : imported ? "imported" : "polled";
  return ratio >= 0.99 ? "incomplete minor" : ratio >= 0.9 ? "incomplete moderate" : "incomplete";
}

function describeCoverage(coverage) {
  if (!coverage) return "not tracked";
  const { expected, polled, chart, imported, missing } = coverage;
  const parts = [`${formatNumber(polled)} of ${formatCount(expected, "minute")} polled`];
  if (chart) parts.push(`${formatNumber(chart)} repaired`);
  if (imported) parts.push(`${formatNumber(imported)} imported`);
  if (missing) parts.push(`${formatNumber(missing)} missing`);
  return parts.join(", ");
}
