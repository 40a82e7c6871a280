/* The chart: candles or a line, a place on the time axis for every bucket, and marks for gaps and repairs. */

import {
  CandlestickSeries, CrosshairMode, LineSeries, createChart,
} from "./lightweight-charts.js";
import { Bands } from "./bands.js";
import { CALENDAR_INTERVALS } from "./buckets.js";
import { resolveColour } from "./dom.js";
import { formatLocalAndUtc, formatNumber, formatTime } from "./format.js";

const RIGHT_MARGIN = 0.03; // the part of the view that stays empty
// For the price axis only: elsewhere the page shows the API's decimal strings.
const PRICE_FORMAT = {
  type: "custom", minMove: 0.01, formatter: (price) => formatNumber(price.toFixed(2)),
};
const PREFETCH_BARS = 20; // older candles are requested when so few are left of the view

export class Chart {
  #chart;
  #series;
  #bands = new Bands();
  #slots = [];
  #colours;
  type;
  #interval;

  /* on.older(): older candles are needed; on.hover(slot): the crosshair is at a slot, or at null */
  constructor(element, on) {
    this.element = element;
    // The library's logo brings an inline style, which our policy forbids; the footer has the notice.
    const layout = { attributionLogo: false, fontFamily: getComputedStyle(element).fontFamily };
    this.#chart = createChart(element, {
      autoSize: true,
      layout,
      crosshair: { mode: CrosshairMode.Magnet },
      localization: { timeFormatter: (time) => this.#crosshairLabel(time) },
      timeScale: { minBarSpacing: 0.3, tickMarkFormatter: (time, type) => this.#tickLabel(time, type) },
    });
    this.#chart.subscribeCrosshairMove((point) => on.hover(this.#slots[point.logical] ?? null));
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((bars) => {
      if (bars && bars.from < PREFETCH_BARS && this.#slots.length) on.older();
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

  /* Replace the slots. The newest *count* come into view; null keeps the present view. */
  show(slots, interval, count = null) {
    const timeScale = this.#chart.timeScale();
    const view = timeScale.getVisibleLogicalRange();
    const prepended = count === null ? countPrepended(slots, this.#slots) : 0;
    [this.#slots, this.#interval] = [slots, interval];
    timeScale.applyOptions({ timeVisible: !CALENDAR_INTERVALS.includes(interval) });
    this.#draw();
    const end = slots.length;
    if (count) timeScale.setVisibleLogicalRange({ from: end - count, to: end + count * RIGHT_MARGIN });
    else if (prepended) {
      timeScale.setVisibleLogicalRange({ from: view.from + prepended, to: view.to + prepended });
    }
  }

  /* Arrow keys, Home and End select a candle, plus and minus zoom, Escape clears the selection.
     onSelect(slot): the selected slot; undefined after Escape or blur */
  listenToKeys(onSelect) {
    let selected = null;
    const targets = {
      ArrowLeft: ([, last]) => (selected ?? last + 1) - 1,
      ArrowRight: ([, last]) => (selected ?? last - 1) + 1,
      Home: ([first]) => first,
      End: ([, last]) => last,
    };
    const select = (index) => {
      const [first, last] = this.#visibleIndexes();
      selected = Math.min(Math.max(index, first), last);
      onSelect(this.#moveCrosshair(selected));
    };
    const clear = () => {
      selected = null;
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
      ? this.#chart.addSeries(LineSeries, { priceFormat: PRICE_FORMAT, color: accent, lineWidth: 2 })
      : this.#chart.addSeries(CandlestickSeries, { priceFormat: PRICE_FORMAT, ...colours });
    this.#series.attachPrimitive(this.#bands);
  }

  #draw() {
    const { repaired, partial, missing } = this.#colours;
    this.#series.setData(this.#slots.map((slot) => this.#bar(slot)));
    this.#bands.show(this.#slots, { repaired, partial, missing });
    const count = (state) => this.#slots.filter((slot) => slot.state === state).length;
    Object.assign(this.element.dataset, {
      type: this.type,
      bars: this.#slots.filter((slot) => slot.candle).length, missing: count("missing"),
      partial: count("partial"), repaired: count("repaired"),
      close: this.#slots.findLast((slot) => slot.candle)?.candle.close ?? "",
    });
  }

  #bar({ start, candle, state }) {
    const time = start / 1000;
    if (!candle) return { time };
    const mark = state === "complete" ? undefined : this.#colours[state];
    const close = Number(candle.close);
    if (this.type === "line") return { time, value: close, color: mark };
    const [open, high, low] = [candle.open, candle.high, candle.low].map(Number);
    const colours = mark && { borderColor: mark, wickColor: mark, color: mark };
    return { time, open, high, low, close, ...colours };
  }

  #crosshairLabel(time) {
    const isCalendar = CALENDAR_INTERVALS.includes(this.#interval);
    return isCalendar ? `${formatTime(time * 1000, "day", "UTC")} UTC` : formatLocalAndUtc(time * 1000);
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
