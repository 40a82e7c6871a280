/* The page: applies the selection, loads what it needs, and follows changes. */

import { apiUrl, fetchJson, now } from "./api.js";
import { countBuckets, defaultInterval, fitRange, rangeLength } from "./buckets.js";
import { CoverageCalendar } from "./calendar.js";
import { TickerCards } from "./cards.js";
import { Chart } from "./chart.js";
import { noticeDecimals, setDecimals } from "./decimals.js";
import { showDownloads } from "./download.js";
import { byId, checkRadio, createRadioGroup } from "./dom.js";
import { formatBucket, formatPair } from "./format.js";
import { loadMovement } from "./movement.js";
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
let unknownTicker = null; // of the URL
let selectedStart = null; // of the candle that the viewer points at; null: the newest is shown
let staleFrom = Infinity; // the oldest moment whose candles must be fetched again

const connection = new ConnectionStatus();
const cards = new TickerCards((ticker) => applySelection({ ticker }));
const chart = new Chart(byId("chart"), {
  older: () => olderTask.schedule(), hover: showSlot, view: showView,
});
const calendar = new CoverageCalendar();

const tickersTask = new Task(async () => {
  tickers = await fetchJson("tickers");
  setDecimals(tickers);
  resolveTicker();
  cards.show(tickers, selection.ticker);
  stream ??= openStream();
  if (!series) await seriesTask.run();
}, 60_000, (error) => series || showNotice(`The page is not loaded yet, trying again: ${error.message}`));

/* Loads the series of the selection. */
const seriesTask = new Task(async () => {
  const { ticker, interval } = selection;
  const since = trackedSince(ticker);
  const range = fitRange(selection.range, interval, since, now());
  Object.assign(selection, { range });
  chart.element.ariaBusy = "true";
  const count = countBuckets(rangeLength(range, since, now()), interval);
  const loaded = new Series(ticker, interval, since);
  await loaded.load(count);
  if (ticker !== selection.ticker || interval !== selection.interval) return seriesTask.schedule();
  series = loaded;
  chart.element.ariaBusy = "false";
  showSeries(count);
  for (const task of [calendarTask, movementTask]) task.schedule();
  if (staleFrom < Infinity) refreshTask.schedule(); // prices changed during the load
}, null, ({ message }) =>
  showNotice(`${formatPair(selection.ticker)} is not loaded yet, trying again: ${message}`));

const calendarTask = new Task(() => calendar.load(selection.ticker, now()), 300_000);

const movementTask = new Task(async () => {
  const { ticker } = selection;
  const rows = await loadMovement(ticker, now());
  if (ticker !== selection.ticker) return movementTask.schedule();
  byId("movement").replaceChildren(...rows);
  byId("movement").dataset.ticker = ticker;
}, 60_000);

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
    connection.onFailure();
    throw error;
  }
}, 10_000);

/* Follow all indexes, also those that become known later. */
function openStream() {
  return new PriceStream(apiUrl("prices/stream"), {
    open() {
      connection.onOpen();
      for (const task of [tickersTask, refreshTask]) task.schedule(); // prices of the meantime
    },
    alive: () => connection.onData(),
    reset: reloadAll,
    price(price) {
      noticeDecimals(price);
      cards.update(price);
      if (!cards.has(price.ticker)) tickersTask.schedule();
      if (price.ticker !== selection.ticker) return;
      announce(cards.describe(price.ticker));
      showTitle();
      staleFrom = Math.min(staleFrom, Date.parse(price.created_at));
      refreshTask.schedule();
      tickersTask.schedule();
    },
    lost(refusal) {
      connection.onLost(refusal);
      stateTask.schedule();
    },
  });
}

function reloadAll() {
  staleFrom = series?.oldest ?? Infinity;
  for (const task of [tickersTask, refreshTask, calendarTask, movementTask, stateTask]) {
    task.schedule();
  }
}

/* An index that is not tracked is replaced by the first one. */
function resolveTicker() {
  if (tickers.some((each) => each.ticker === selection.ticker)) return;
  unknownTicker = selection.ticker || null;
  selection.ticker = tickers[0].ticker;
}

/* What the chart does not show; nothing hides it. */
function showNotice(text) {
  byId("notice").textContent = text;
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
  unknownTicker = null;
  const since = trackedSince(selection.ticker);
  Object.assign(selection, change);
  const { range, interval } = selection;
  if (change.range) selection.interval = defaultInterval(range, rangeLength(range, since, now()));
  if (change.interval) selection.range = fitRange(range, interval, since, now());
  saveSelection(selection);
  showSelection();
  if (change.type) updateChartType();
  else seriesTask.run();
}

function showSelection() {
  cards.select(selection.ticker);
  for (const name of ["range", "interval"]) checkRadio(name, selection[name]);
  checkRadio("type", chartType());
  byId("type").disabled = series?.interval === "1m";
}

/* Minutes are always drawn as a line, because a candle of one price has no body. */
const chartType = () => (series?.interval === "1m" ? "line" : selection.type);

function updateChartType() {
  chart.setType(chartType());
  showSelection();
  showView();
}

function showSeries(count = null) {
  slots = series.slots();
  if (chart.type !== chartType()) updateChartType();
  chart.show(slots, series, count);
  showSelection();
  showView();
  showNewestCandles(slots, series);
  showGaps(series.gaps);
  showSlot(slots.find(({ start }) => start === selectedStart));
  showTitle();
  const pair = formatPair(series.ticker);
  byId("title").textContent = pair;
  chart.element.setAttribute("aria-label", [pair, chartType(), series.interval].join(", "));
  const notices = [
    unknownTicker && `${formatPair(unknownTicker)} is not tracked here; ${pair} is shown.`,
    !slots.length && `${pair} has no price yet; the first one appears here.`,
  ];
  showNotice(notices.filter(Boolean).join(" "));
}

/* A tab that is hidden shows the price in its title. */
function showTitle() {
  document.title = `${cards.describe(selection.ticker)} · Deribit index prices`;
}

/* Describe what is drawn. A range is checked only while it is in view. */
function showView() {
  if (!series || !slots.length) {
    byId("drawn").replaceChildren();
    byId("download").hidden = true;
    return;
  }
  const { first, last, isRange } = chart.view();
  if (!first || !last) return;
  showDownloads(series, first.start, last.end, slots.indexOf(last) - slots.indexOf(first) + 1);
  const type = chart.type === "candles" ? "candles" : "closes as a line";
  const reason = series.interval === "1m" ? ", because a minute has one price" : "";
  const times = [first, last].map(({ start }) => formatBucket(start, series.interval));
  byId("drawn").textContent = `${series.interval} ${type}${reason}: ${times.join(" – ")}`;
  checkRadio("range", isRange ? selection.range : null);
}

/* Show the values of *slot*, or of the newest candle without one. Returns them as text. */
function showSlot(slot) {
  selectedStart = slot?.start ?? null;
  const shown = slot ?? slots.findLast((each) => each.candle);
  return series && showCandle(shown, series);
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
addEventListener("hashchange", () => {
  Object.assign(selection, parseSelection());
  resolveTicker();
  showSelection();
  seriesTask.run();
});
addEventListener("pageshow", ({ persisted }) => persisted && reloadAll()); // back from the cache
tickersTask.run();
stateTask.run();
