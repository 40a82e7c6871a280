/* The page: what is chosen, what is asked, and what comes by itself. */

import { get, now } from "./api.js";
import { fittingRange, length, size, usualInterval } from "./buckets.js";
import { Chart } from "./chart.js";
import { FORM_NAMES, INTERVAL_NAMES, RANGE_NAMES, keepChoice, readChoice } from "./choice.js";
import { Connection } from "./connection.js";
import { choose, find, switcher } from "./dom.js";
import { listenToKeys } from "./keys.js";
import { Live } from "./live.js";
import { read } from "./reading.js";
import { Series } from "./series.js";
import { showService } from "./service.js";
import { Strip } from "./strip.js";
import { showGaps, showLatest } from "./tables.js";
import { Task } from "./task.js";
import { Cards } from "./tickers.js";
import { pair } from "./words.js";
import "./clock.js";

const choice = readChoice();
let [tickers, series, slots, live] = [[], null, [], null];
let changed = Infinity; // the oldest moment that is to be asked for anew

const connection = new Connection();
const cards = new Cards((ticker) => change({ ticker }));
const chart = new Chart(find("chart"), { older: () => older.soon(), point });
const strip = new Strip();

const day = new Task(async () => {
  tickers = await get("tickers");
  if (!tickers.some((each) => each.ticker === choice.ticker)) choice.ticker = tickers[0]?.ticker;
  cards.show(tickers, choice.ticker);
  live ??= follow();
  if (!series && choice.ticker) await chosen.run();
}, 60_000);

/* What was chosen, from nothing. */
const chosen = new Task(async () => {
  const wanted = { ...choice };
  const since = sinceOf(wanted.ticker);
  const count = size(length(wanted.range, since, now()), wanted.interval);
  const fresh = new Series(wanted.ticker, wanted.interval, since);
  await fresh.load(count);
  if (wanted.ticker !== choice.ticker || wanted.interval !== choice.interval) return chosen.soon();
  series = fresh;
  show(count);
  squares.soon();
  if (changed < Infinity) tail.soon(); // something came meanwhile
});

const squares = new Task(() => strip.load(choice.ticker, now()), 300_000);

/* Only what changed is asked for anew, from the oldest minute that did. */
const tail = new Task(async () => {
  if (!series) return;
  const [from, asked] = [Math.min(changed, now() - 120_000), series];
  changed = Infinity;
  try {
    await asked.refresh(from);
  } catch (error) {
    changed = Math.min(changed, from);
    throw error;
  }
  if (asked === series) show();
}, 60_000);

const older = new Task(async () => {
  if (await series?.older()) show();
});

const state = new Task(async () => {
  try {
    const found = await get("health/state");
    showService(found);
    connection.answered(found);
  } catch (error) {
    showService(null);
    if (connection.silent()) live?.retry();
    throw error;
  }
}, 10_000);

function follow() {
  return new Live(tickers.map((each) => each.ticker), {
    open: () => connection.opened(),
    stale() {
      changed = series?.oldest ?? Infinity;
      for (const task of [day, tail, squares, state]) task.soon();
    },
    price(price) {
      connection.heard();
      cards.take(price);
      if (price.ticker !== choice.ticker) return;
      find("said").textContent = cards.words(price.ticker);
      changed = Math.min(changed, Date.parse(price.created_at));
      tail.soon();
      day.soon();
    },
    lost() {
      connection.lost();
      state.soon();
    },
  });
}

/* When the index began to be tracked; one without a price begins now. */
function sinceOf(name) {
  const since = tickers.find((each) => each.ticker === name)?.since;
  return since ? Date.parse(since) : now();
}

function change(wanted) {
  const since = sinceOf(choice.ticker);
  Object.assign(choice, wanted);
  const span = length(choice.range, since, now());
  if (wanted.range) choice.interval = usualInterval(choice.range, span);
  if (wanted.interval) choice.range = fittingRange(choice.range, choice.interval, since, now());
  for (const name of ["range", "interval", "form"]) choose(name, choice[name]);
  keepChoice(choice);
  if (wanted.form) dress();
  else chosen.run();
}

/* A minute has one price, and a candle of it no body: it is always drawn as a line. */
const form = () => (series?.interval === "1m" ? "line" : choice.form);

function dress() {
  chart.dress(form());
  find("form").disabled = form() !== choice.form;
}

function show(count = null) {
  slots = series.slots();
  if (chart.form !== form()) dress();
  chart.show(slots, series.interval, count);
  showLatest(slots, series.interval);
  showGaps(series.gaps);
  point(null);
  find("title").textContent = pair(series.ticker);
  document.title = `${cards.words(series.ticker)} · Deribit index prices`;
  const words = [pair(series.ticker), form(), series.interval];
  chart.place.setAttribute("aria-label", words.join(", "));
}

/* Without a pointer the newest candle is read. */
function point(slot) {
  const shown = slot ?? slots.findLast((each) => each.candle);
  return series && read(shown, series.interval, series.gaps);
}

switcher("range", RANGE_NAMES, choice.range, (range) => change({ range }));
switcher("interval", INTERVAL_NAMES, choice.interval, (interval) => change({ interval }));
switcher("form", FORM_NAMES, choice.form, (form) => change({ form }));
listenToKeys(chart.place, chart, (slot) => {
  const words = point(slot);
  find("said").textContent = slot ? words : "";
});
document.addEventListener("dressed", dress);
day.run();
state.run();
