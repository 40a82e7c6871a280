/* The chart by keyboard: arrows read candles, plus and minus zoom. */

/* heard(slot): the candle that the keys point at now; undefined when they point at none */
export function listenToKeys(place, chart, heard) {
  let bar = null;

  const steps = {
    ArrowLeft: ([, last]) => (bar ?? last + 1) - 1,
    ArrowRight: ([, last]) => (bar ?? last - 1) + 1,
    Home: ([first]) => first,
    End: ([, last]) => last,
  };

  place.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "-") chart.zoom(event.key === "+" ? 0.7 : 1.4);
    else if (event.key === "Escape") leave();
    else if (steps[event.key]) go(steps[event.key](chart.view()));
    else return;
    event.preventDefault();
  });
  place.addEventListener("blur", leave);

  function go(wanted) {
    const [first, last] = chart.view();
    bar = Math.min(Math.max(wanted, first), last);
    heard(chart.point(bar));
  }

  function leave() {
    bar = null;
    chart.point(null);
    heard(undefined);
  }
}
