/* The chart: candles or a line, a place on the time axis for every bucket, and marks for gaps and repairs. */

import {
  CandlestickSeries, CrosshairMode, LineSeries, createChart,
} from "./lightweight-charts.js";
import { Bands } from "./bands.js";
import { CALENDAR_INTERVALS } from "./buckets.js";
import { decimalsOf, formatPrice } from "./decimals.js";
import { resolveColour } from "./dom.js";
import { formatBucket, formatTime } from "./format.js";

const RIGHT_MARGIN = 0.03; // the part of the view that stays empty
const VIEW_TOLERANCE = 0.05; // the part of a range by which a view may differ from it
const PREFETCH_BARS = 20; // older candles are requested when so few are left of the view

export class Chart {
  #chart;
  #series;
  #bands = new Bands();
  #slots = [];
  #colours;
  #ticker;
  #interval;
  #count = null; // slots of the range that was shown last
  #selected = null; // index of the slot that keys selected
  type;

  /* on.older(): older candles are needed; on.hover(slot): the crosshair is at a slot, or at null;
     on.view(): other candles are in view */
  constructor(element, on) {
    this.element = element;
    // The library's logo brings an inline style, which our policy forbids; the footer has the notice.
    const layout = { attributionLogo: false, fontFamily: getComputedStyle(element).fontFamily };
    this.#chart = createChart(element, {
      autoSize: true,
      layout,
      crosshair: { mode: CrosshairMode.Magnet },
      localization: { timeFormatter: (time) => formatBucket(time * 1000, this.#interval) },
      timeScale: {
        minBarSpacing: 0.05, lockVisibleTimeRangeOnResize: true, tickMarkFormatter: (time, type) => this.#tickLabel(time, type),
      },
    });
    this.#chart.subscribeCrosshairMove(({ logical, sourceEvent }) => {
      // A new bar moves the bars under the crosshair, but not what keys selected.
      if (this.#selected !== null && !sourceEvent) return;
      this.#selected = null;
      on.hover(this.#slots[logical] ?? null);
    });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((bars) => {
      if (bars && bars.from < PREFETCH_BARS && this.#slots.length) on.older();
      on.view();
    });
    this.setType("candles");
  }

  /* Draw candles or a line, in the colours of the current theme. */
  setType(type) {
    this.type = type;
    const names = ["up", "down", "repaired", "partial", "missing", "text", "accent", "muted", "grid"];
    this.#colours = Object.fromEntries(names.map((name) => [name, resolveColour(name)]));
    const { text, grid, muted } = this.#colours;
    const label = { labelBackgroundColor: text };
    this.#chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: muted, fontSize: 11 },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      crosshair: { vertLine: label, horzLine: label },
      rightPriceScale: { borderColor: grid },
      timeScale: { borderColor: grid },
    });
    const timeScale = this.#chart.timeScale();
    const view = timeScale.getVisibleLogicalRange();
    this.#replaceSeries();
    this.#draw();
    if (view) timeScale.setVisibleLogicalRange(view); // a new series resets it
  }

  /* Replace the slots by those of *series*. The newest *count* come into view; null keeps the
     present view. */
  show(slots, { ticker, interval }, count = null) {
    const timeScale = this.#chart.timeScale();
    const view = timeScale.getVisibleLogicalRange();
    const prepended = count === null ? countPrepended(slots, this.#slots) : 0;
    [this.#slots, this.#ticker, this.#interval] = [slots, ticker, interval];
    if (count) this.#count = count;
    if (this.#selected !== null) this.#selected += prepended;
    timeScale.applyOptions({ timeVisible: !CALENDAR_INTERVALS.includes(interval) });
    this.#draw();
    const end = slots.length;
    if (count) timeScale.setVisibleLogicalRange({ from: end - count, to: end + count * RIGHT_MARGIN });
    else if (prepended) {
      timeScale.setVisibleLogicalRange({ from: view.from + prepended, to: view.to + prepended });
    }
    // After the frame in which the library applies the new range.
    if (this.#selected !== null) requestAnimationFrame(() => this.#moveCrosshair(this.#selected));
  }

  /* The first and the last slot in view, and whether they are those of the range. */
  view() {
    const { from, to } = this.#chart.timeScale().getVisibleLogicalRange() ?? { from: 0, to: 0 };
    const [end, count] = [this.#slots.length, this.#count];
    const difference = Math.max(Math.abs(end - count - from), Math.abs(end + count * RIGHT_MARGIN - to));
    const isRange = difference <= Math.max(2, count * VIEW_TOLERANCE);
    const [first, last] = this.#visibleIndexes();
    return { first: this.#slots[first], last: this.#slots[last], isRange };
  }

  /* Arrow keys, Home and End select a candle, plus and minus zoom, Escape clears the selection.
     onSelect(slot): the selected slot; undefined after Escape or blur */
  listenToKeys(onSelect) {
    const targets = {
      ArrowLeft: ([, last]) => (this.#selected ?? last + 1) - 1,
      ArrowRight: ([, last]) => (this.#selected ?? last - 1) + 1,
      Home: ([first]) => first,
      End: ([, last]) => last,
    };
    const select = (index) => {
      const [first, last] = this.#visibleIndexes();
      this.#selected = Math.min(Math.max(index, first), last);
      onSelect(this.#moveCrosshair(this.#selected));
    };
    const clear = () => {
      this.#selected = null;
      this.#chart.clearCrosshairPosition();
      onSelect(undefined);
    };
    this.element.addEventListener("blur", clear);
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "-") this.#zoom(event.key === "+" ? 0.7 : 1.4);
      else if (event.key === "Escape") clear();
      else if (targets[event.key]) select(targets[event.key](this.#visibleIndexes()));
      else return;
      event.preventDefault();
    });
  }

  #moveCrosshair(index) {
    const slot = this.#slots[index];
    if (!slot) return this.#chart.clearCrosshairPosition();
    const price = Number(slot.candle?.close ?? 0);
    this.#chart.setCrosshairPosition(price, slot.start / 1000, this.#series);
    return slot;
  }

  /* Indexes of the first and the last slot that is wholly in view. */
  #visibleIndexes() {
    const { from, to } = this.#chart.timeScale().getVisibleLogicalRange() ?? { from: 0, to: 0 };
    return [Math.max(0, Math.ceil(from)), Math.min(this.#slots.length - 1, Math.floor(to))];
  }

  #zoom(factor) {
    const timeScale = this.#chart.timeScale();
    const { from, to } = timeScale.getVisibleLogicalRange();
    timeScale.setVisibleLogicalRange({ from: to - (to - from) * factor, to });
  }

  #replaceSeries() {
    if (this.#series) this.#chart.removeSeries(this.#series);
    const { up, down, accent } = this.#colours;
    const colours = {
      upColor: up, borderUpColor: up, wickUpColor: up,
      downColor: down, borderDownColor: down, wickDownColor: down,
    };
    this.#series = this.type === "line"
      ? this.#chart.addSeries(LineSeries, { color: accent, lineWidth: 2 })
      : this.#chart.addSeries(CandlestickSeries, colours);
    this.#series.attachPrimitive(this.#bands);
  }

  #draw() {
    const { repaired, partial, missing } = this.#colours;
    const decimals = decimalsOf(this.#ticker);
    const formatter = (price) => formatPrice(price.toFixed(decimals), this.#ticker);
    this.#series.applyOptions({ priceFormat: { type: "custom", minMove: 10 ** -decimals, formatter } });
    this.#series.setData(this.#slots.map((slot) => this.#bar(slot)));
    this.#bands.show(this.#slots, { repaired, partial, missing });
    const count = (state) => this.#slots.filter((slot) => slot.state === state).length;
    Object.assign(this.element.dataset, {
      type: this.type, decimals: decimalsOf(this.#ticker),
      bars: this.#slots.filter((slot) => slot.candle).length, missing: count("missing"),
      partial: count("partial"), repaired: count("repaired"),
      close: this.#slots.findLast((slot) => slot.candle)?.candle.close ?? "",
    });
  }

  #bar({ start, candle }) {
    const time = start / 1000;
    if (!candle) return { time };
    const [open, high, low, close] = [candle.open, candle.high, candle.low, candle.close].map(Number);
    return this.type === "line" ? { time, value: close } : { time, open, high, low, close };
  }

  /* Days, weeks and months are UTC, as in the API; shorter intervals are in the viewer's zone. */
  #tickLabel(time, type) {
    const ms = time * 1000;
    if (type === 0) return formatTime(ms, "year", "UTC");
    if (type === 1) return formatTime(ms, "monthOnly", "UTC");
    if (CALENDAR_INTERVALS.includes(this.#interval)) return formatTime(ms, "date", "UTC");
    return formatTime(ms, type === 2 ? "date" : "time");
  }
}

/* How many slots precede the first of the old ones. */
const countPrepended = (slots, old) =>
  old.length ? slots.findIndex((slot) => slot.start === old[0].start) : 0;
