/* A band of marks below the candles, which keep their colours: repaired and incomplete buckets, and
   buckets without a price, which are also tinted. */

const STRIP_HEIGHT = 5; // CSS pixels, at the bottom of the chart

/* A primitive of lightweight-charts, which calls attached(), detached() and paneViews(). */
export class Bands {
  #chart;
  #requestUpdate;
  #bands = [];
  #colours = {};

  attached({ chart, requestUpdate }) {
    this.#chart = chart;
    this.#requestUpdate = requestUpdate;
  }

  detached() {
    this.#requestUpdate = undefined;
  }

  /* slots: as Series returns them; colours: of each state that is marked */
  show(slots, colours) {
    this.#bands = groupStates(slots.map((slot) => slot.state), Object.keys(colours));
    this.#colours = colours;
    this.#requestUpdate?.();
  }

  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  #draw(target) {
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio: ratio }) => {
      const timeScale = this.#chart.timeScale();
      const halfBar = (timeScale.options().barSpacing / 2) * ratio;
      const strip = STRIP_HEIGHT * ratio;
      for (const { state, first, last } of this.#bands) {
        const left = timeScale.logicalToCoordinate(first) * ratio - halfBar;
        const right = timeScale.logicalToCoordinate(last) * ratio + halfBar;
        const width = Math.max(right - left, ratio);
        context.fillStyle = this.#colours[state];
        context.fillRect(left, bitmapSize.height - strip, width, strip);
        if (state !== "missing") continue;
        context.globalAlpha = 0.2;
        context.fillRect(left, 0, width, bitmapSize.height - strip);
        context.globalAlpha = 1;
      }
    });
  }
}

/* Adjacent slots with one marked state: [{state, first, last}], indexes of slots, both inclusive. */
function groupStates(states, marked) {
  const groups = [];
  states.forEach((state, index) => {
    const group = groups.at(-1);
    if (group?.state === state && group.last === index - 1) group.last = index;
    else if (marked.includes(state)) groups.push({ state, first: index, last: index });
  });
  return groups;
}
