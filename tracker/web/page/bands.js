/* Marks in the chart, behind the candles: where prices were repaired, and where there are none. */

const HEIGHT = 5; // CSS pixels of the strip at the bottom

/* A primitive of lightweight-charts: it is asked for views, and those draw. */
export class Bands {
  #chart;
  #redraw;
  #runs = [];
  #colours = {};

  attached({ chart, requestUpdate }) {
    this.#chart = chart;
    this.#redraw = requestUpdate;
  }

  detached() {
    this.#redraw = undefined;
  }

  /* slots: as Series gives them; colours: of each state that is marked */
  show(slots, colours) {
    this.#runs = runs(slots.map((slot) => slot.state), Object.keys(colours));
    this.#colours = colours;
    this.#redraw?.();
  }

  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  #draw(target) {
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio: ratio }) => {
      const time = this.#chart.timeScale();
      const half = (time.options().barSpacing / 2) * ratio;
      for (const { state, from, to } of this.#runs) {
        const [left, right] = [from, to].map((bar) => time.logicalToCoordinate(bar) * ratio);
        const at = [left - half, Math.max(right - left + 2 * half, ratio)];
        const strip = HEIGHT * ratio;
        context.fillStyle = this.#colours[state];
        context.fillRect(at[0], bitmapSize.height - strip, at[1], strip);
        if (state !== "missing") continue;
        context.globalAlpha = 0.2;
        context.fillRect(at[0], 0, at[1], bitmapSize.height - strip);
        context.globalAlpha = 1;
      }
    });
  }
}

/* Neighbours of one state together: [{state, from, to}], places in the list, both inclusive. */
function runs(states, wanted) {
  const found = [];
  states.forEach((state, place) => {
    const last = found.at(-1);
    if (last?.state === state && last.to === place - 1) last.to = place;
    else if (wanted.includes(state)) found.push({ state, from: place, to: place });
  });
  return found;
}
