/* The page: applies the selection, loads what it needs, and follows changes. */

import { fetchJson, now } from "./api.js";
import { countBuckets, defaultInterval, fitRange, rangeLength } from "./buckets.js";
import { CoverageCalendar } from "./calendar.js";
import { TickerCards } from "./cards.js";
import { Chart } from "./chart.js";
import { byId, checkRadio, createRadioGroup } from "./dom.js";
import { formatPair } from "./format.js";
import {
  INTERVAL_LABELS, RANGE_LABELS, TYPE_LABELS, parseSelection, saveSelection,
} from "./selection.js";
import { Series } from "./series.js";
import { ConnectionStatus, showService } from "./status.js";
import { PriceStream } from "./stream.js";
import { showCandle, showGaps, showNewestCandles } from "./tables.js";
import { Task } from "./task.js";
import "./clock.js";

const selection = parseSelection();
let [tickers, series, slots, stream] = [[], null, [], null];
let staleFrom = Infinity; // the oldest moment whose candles must be fetched again

const connection = new ConnectionStatus();
const cards = new TickerCards((ticker) => applySelection({ ticker }));
const chart = new Chart(byId("chart"), { older: () => olderTask.schedule(), hover: showSlot });
const calendar = new CoverageCalendar();

const tickersTask = new Task(async () => {
  tickers = await fetchJson("tickers");
  if (!tickers.some((each) => each.ticker === selection.ticker)) {
    selection.ticker = tickers[0]?.ticker;
  }
  cards.show(tickers, selection.ticker);
  stream ??= openStream();
  if (!series && selection.ticker) await seriesTask.run();
}, 60_000);

/* Loads the series of the selection. */
const seriesTask = new Task(async () => {
  const { ticker, range, interval } = selection;
  const since = trackedSince(ticker);
  const count = countBuckets(rangeLength(range, since, now()), interval);
  const loaded = new Series(ticker, interval, since);
  await loaded.load(count);
  if (ticker !== selection.ticker || interval !== selection.interval) return seriesTask.schedule();
  series = loaded;
  showSeries(count);
  calendarTask.schedule();
  if (staleFrom < Infinity) refreshTask.schedule(); // prices changed during the load
});

const calendarTask = new Task(() => calendar.load(selection.ticker, now()), 300_000);

/* Fetches only candles from the oldest changed minute on. */
const refreshTask = new Task(async () => {
  if (!series) return;
  const [from, refreshed] = [Math.min(staleFrom, now() - 120_000), series];
  staleFrom = Infinity;
  try {
    await refreshed.refresh(from);
  } catch (error) {
    staleFrom = Math.min(staleFrom, from);
    throw error;
  }
  if (refreshed === series) showSeries();
}, 60_000);

const olderTask = new Task(async () => {
  if (await series?.loadOlder()) showSeries();
});

const stateTask = new Task(async () => {
  try {
    const state = await fetchJson("health/state");
    showService(state);
    connection.onState(state);
  } catch (error) {
    showService(null);
    if (connection.onFailure()) stream?.reconnect(); // the browser has not noticed the failure
    throw error;
  }
}, 10_000);

function openStream() {
  return new PriceStream(tickers.map((each) => each.ticker), {
    open: () => connection.onOpen(),
    stale() {
      staleFrom = series?.oldest ?? Infinity;
      for (const task of [tickersTask, refreshTask, calendarTask, stateTask]) task.schedule();
    },
    price(price) {
      connection.onData();
      cards.update(price);
      if (price.ticker !== selection.ticker) return;
      announce(cards.describe(price.ticker));
      staleFrom = Math.min(staleFrom, Date.parse(price.created_at));
      refreshTask.schedule();
      tickersTask.schedule();
    },
    lost() {
      connection.onLost();
      stateTask.schedule();
    },
  });
}

/* Screen readers read the text aloud. */
function announce(text) {
  byId("announcement").textContent = text;
}

/* The first tracked minute of an index; without a price it is the present moment. */
function trackedSince(ticker) {
  const since = tickers.find((each) => each.ticker === ticker)?.since;
  return since ? Date.parse(since) : now();
}

function applySelection(change) {
  const since = trackedSince(selection.ticker);
  Object.assign(selection, change);
  const { range, interval } = selection;
  if (change.range) selection.interval = defaultInterval(range, rangeLength(range, since, now()));
  if (change.interval) selection.range = fitRange(range, interval, since, now());
  for (const name of ["range", "interval", "type"]) checkRadio(name, selection[name]);
  saveSelection(selection);
  if (change.type) updateChartType();
  else seriesTask.run();
}

/* Minutes are always drawn as a line, because a candle of one price has no body. */
const chartType = () => (series?.interval === "1m" ? "line" : selection.type);

function updateChartType() {
  chart.setType(chartType());
  byId("type").disabled = chartType() !== selection.type;
}

function showSeries(count = null) {
  slots = series.slots();
  if (chart.type !== chartType()) updateChartType();
  chart.show(slots, series.interval, count);
  showNewestCandles(slots, series.interval);
  showGaps(series.gaps);
  showSlot(null);
  const pair = formatPair(series.ticker);
  byId("title").textContent = pair;
  document.title = `${cards.describe(series.ticker)} · Deribit index prices`;
  chart.element.setAttribute("aria-label", [pair, chartType(), series.interval].join(", "));
}

/* Show the values of *slot*, or of the newest candle if it is null. Returns them as text. */
function showSlot(slot) {
  const shown = slot ?? slots.findLast((each) => each.candle);
  return series && showCandle(shown, series.interval, series.gaps);
}

createRadioGroup("range", RANGE_LABELS, selection.range, (range) => applySelection({ range }));
createRadioGroup(
  "interval", INTERVAL_LABELS, selection.interval, (interval) => applySelection({ interval }));
createRadioGroup("type", TYPE_LABELS, selection.type, (type) => applySelection({ type }));
chart.listenToKeys((slot) => {
  const text = showSlot(slot);
  announce(slot ? text : "");
});
document.addEventListener("themechange", updateChartType);
tickersTask.run();
stateTask.run();
