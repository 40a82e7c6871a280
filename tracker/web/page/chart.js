/* The chart: candles or a line, with a place for each bucket, and marks for what is not plain. */

import {
  CandlestickSeries, CrosshairMode, LineSeries, createChart,
} from "./lightweight-charts.js";
import { Bands } from "./bands.js";
import { DAILY } from "./buckets.js";
import { ink } from "./dom.js";
import { bothTimes, grouped, when } from "./words.js";

const ROOM = 0.03; // the part of the view that stays free at the right
// Of the axis only: everywhere else prices are the API's text.
const PRICE = { type: "custom", minMove: 0.01, formatter: (price) => grouped(price.toFixed(2)) };
const NEAR = 20; // bars before the oldest at which more are asked for

export class Chart {
  #chart;
  #series;
  #bands = new Bands();
  #slots = [];
  #colours;
  form;
  #interval;

  /* on.older(): more is wanted at the left; on.point(slot or null): what is pointed at */
  constructor(place, on) {
    this.place = place;
    // Its logo comes with a style of its own, which our policy forbids; the page's end names them.
    const layout = { attributionLogo: false, fontFamily: getComputedStyle(place).fontFamily };
    this.#chart = createChart(place, {
      autoSize: true,
      layout,
      crosshair: { mode: CrosshairMode.Magnet },
      localization: { timeFormatter: (time) => this.#moment(time) },
      timeScale: { minBarSpacing: 0.3, tickMarkFormatter: (time, type) => this.#tick(time, type) },
    });
    this.#chart.subscribeCrosshairMove((point) => on.point(this.#slots[point.logical] ?? null));
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((bars) => {
      if (bars && bars.from < NEAR && this.#slots.length) on.older();
    });
    this.dress("candles");
  }

  /* Candles or a line, in the colours of now. */
  dress(form) {
    this.form = form;
    const names = ["up", "down", "repaired", "partial", "missing", "text", "line", "quiet", "grid"];
    this.#colours = Object.fromEntries(names.map((name) => [name, ink(name)]));
    const { text, grid, quiet } = this.#colours;
    const label = { labelBackgroundColor: text };
    this.#chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: quiet, fontSize: 11 },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      crosshair: { vertLine: label, horzLine: label },
      rightPriceScale: { borderColor: grid },
      timeScale: { borderColor: grid },
    });
    const bars = this.#chart.timeScale();
    const view = bars.getVisibleLogicalRange();
    this.#renew();
    this.#draw();
    if (view) bars.setVisibleLogicalRange(view); // a new series forgets it
  }

  /* Other slots; *count* of the newest come into view, or what is in view stays if it is null. */
  show(slots, interval, count = null) {
    const bars = this.#chart.timeScale();
    const view = bars.getVisibleLogicalRange();
    const added = count === null ? olderThan(slots, this.#slots) : 0;
    [this.#slots, this.#interval] = [slots, interval];
    bars.applyOptions({ timeVisible: !DAILY.includes(interval) });
    this.#draw();
    const end = slots.length;
    if (count) bars.setVisibleLogicalRange({ from: end - count, to: end + count * ROOM });
    else if (added) bars.setVisibleLogicalRange({ from: view.from + added, to: view.to + added });
  }

  /* Points at a slot of that place, or at none. */
  point(place) {
    const slot = this.#slots[place];
    if (!slot) return this.#chart.clearCrosshairPosition();
    const price = Number(slot.candle?.close ?? 0);
    this.#chart.setCrosshairPosition(price, slot.start / 1000, this.#series);
    return slot;
  }

  /* The places in view, whole and inside. */
  view() {
    const { from, to } = this.#chart.timeScale().getVisibleLogicalRange() ?? { from: 0, to: 0 };
    return [Math.max(0, Math.ceil(from)), Math.min(this.#slots.length - 1, Math.floor(to))];
  }

  zoom(factor) {
    const bars = this.#chart.timeScale();
    const { from, to } = bars.getVisibleLogicalRange();
    bars.setVisibleLogicalRange({ from: to - (to - from) * factor, to });
  }

  #renew() {
    if (this.#series) this.#chart.removeSeries(this.#series);
    const { up, down, line } = this.#colours;
    const colours = {
      upColor: up, borderUpColor: up, wickUpColor: up,
      downColor: down, borderDownColor: down, wickDownColor: down,
    };
    this.#series = this.form === "line"
      ? this.#chart.addSeries(LineSeries, { priceFormat: PRICE, color: line, lineWidth: 2 })
      : this.#chart.addSeries(CandlestickSeries, { priceFormat: PRICE, ...colours });
    this.#series.attachPrimitive(this.#bands);
  }

  #draw() {
    const { repaired, partial, missing } = this.#colours;
    this.#series.setData(this.#slots.map((slot) => this.#bar(slot)));
    this.#bands.show(this.#slots, { repaired, partial, missing });
    const tally = (state) => this.#slots.filter((slot) => slot.state === state).length;
    Object.assign(this.place.dataset, {
      form: this.form,
      bars: this.#slots.filter((slot) => slot.candle).length, missing: tally("missing"),
      partial: tally("partial"), repaired: tally("repaired"),
      close: this.#slots.findLast((slot) => slot.candle)?.candle.close ?? "",
    });
  }

  #bar({ start, candle, state }) {
    const time = start / 1000;
    if (!candle) return { time };
    const mark = state === "whole" ? undefined : this.#colours[state];
    const close = Number(candle.close);
    if (this.form === "line") return { time, value: close, color: mark };
    const [open, high, low] = [candle.open, candle.high, candle.low].map(Number);
    const colours = mark && { borderColor: mark, wickColor: mark, color: mark };
    return { time, open, high, low, close, ...colours };
  }

  #moment(time) {
    const day = DAILY.includes(this.#interval);
    return day ? `${when(time * 1000, "day", "UTC")} UTC` : bothTimes(time * 1000);
  }

  /* Days and longer are the API's, in UTC; below, the viewer's clock is what the axis shows. */
  #tick(time, type) {
    const ms = time * 1000;
    const day = DAILY.includes(this.#interval);
    if (type === 0) return when(ms, "year", "UTC");
    if (type === 1) return when(ms, "monthOnly", "UTC");
    if (day) return when(ms, "date", "UTC");
    return when(ms, type === 2 ? "date" : "time");
  }
}

/* How many slots came before the old ones. */
const olderThan = (slots, old) =>
  old.length ? slots.findIndex((slot) => slot.start === old[0].start) : 0;
