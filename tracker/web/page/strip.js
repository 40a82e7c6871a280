/* Coverage as a calendar: a column for each week, a square for each day, newest at the right. */

import { list } from "./api.js";
import { DAY, floor } from "./buckets.js";
import { el, find } from "./dom.js";
import { count, grouped, when } from "./words.js";

const WIDTH = 14; // CSS pixels of a week
const WEEK = 7 * DAY;
const LONGEST = 53; // weeks

export class Strip {
  #days = [];

  constructor() {
    const place = find("days");
    place.addEventListener("keydown", (event) => this.#key(event));
    place.addEventListener("focusin", (event) => this.#say(event.target));
    place.addEventListener("pointerover", (event) => this.#say(event.target));
    new ResizeObserver(() => this.#draw()).observe(place);
  }

  /* now: milliseconds, by the server's clock */
  async load(ticker, now) {
    const first = floor(now, "1w") - (LONGEST - 1) * WEEK;
    const start = new Date(first).toISOString();
    const asked = { ticker, interval: "1d", start_date: start, limit: 1000 };
    const covered = await list("prices/coverage", asked);
    const known = new Map(covered.map((each) => [Date.parse(each.from), each]));
    this.#days = [];
    for (let day = first; day <= now; day += DAY) this.#days.push([day, known.get(day)]);
    this.#draw();
  }

  #draw() {
    const weeks = Math.min(LONGEST, Math.floor(find("days").clientWidth / WIDTH));
    const first = (this.#days.at(-1)?.[0] ?? 0) + DAY - weeks * WEEK;
    const shown = this.#days.filter(([day]) => floor(day, "1w") >= floor(first, "1w"));
    find("days").replaceChildren(...shown.map(([day, cover]) => square(day, cover)));
    find("months").style.gridTemplateColumns = `repeat(${weeks}, minmax(0, 1fr))`;
    find("months").replaceChildren(...months(shown));
    const last = find("days").lastElementChild;
    if (!last) return;
    last.tabIndex = 0;
    this.#say(last);
  }

  #say(square) {
    if (square.title) find("day").textContent = square.title;
  }

  /* Up and down a day, left and right a week; one of them is the tab stop. */
  #key(event) {
    const steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 };
    const squares = [...find("days").children];
    const here = squares.indexOf(document.activeElement);
    const target = squares[here + steps[event.key]];
    if (here < 0 || !target) return;
    event.preventDefault();
    squares[here].tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }
}

/* A name over the first week that begins in a month. */
function months(shown) {
  const mondays = shown.filter((_, place) => place % 7 === 0);
  const weeks = mondays.map(([day]) => when(day, "monthOnly", "UTC"));
  return weeks.flatMap((name, week) => {
    if (name === weeks[week - 1] || (week === 0 && name !== weeks[2])) return [];
    const label = el("span", {}, name);
    label.style.gridColumn = `${week + 1}`;
    return [label];
  });
}

function square(day, cover) {
  const words = `${when(day, "day", "UTC")}: ${told(cover)}`;
  const level = cover ? kind(cover) : "untracked";
  const spoken = el("span", { class: "hidden" }, words);
  return el("li", { title: words, tabindex: -1, class: level }, spoken);
}

/* A tenth of a day is a lot: shades tell a minute from an outage. */
function kind({ ratio, chart, missing }) {
  if (missing) return ratio >= 0.99 ? "lacking few" : ratio >= 0.9 ? "lacking some" : "lacking";
  return chart ? "repaired" : "polled";
}

function told(cover) {
  if (!cover) return "not tracked";
  const { expected, polled, chart, missing } = cover;
  const words = [`${grouped(polled)} of ${count(expected, "minute")} polled`];
  if (chart) words.push(`${grouped(chart)} repaired`);
  if (missing) words.push(`${grouped(missing)} missing`);
  return words.join(", ");
}
