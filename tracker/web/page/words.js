/* Values as people read them. Prices stay the text they came as: no float touches them. */

export const pair = (ticker) => ticker.toUpperCase().replace("_", "/");

/* "103201.56" -> "103,201.56" */
export function grouped(number) {
  const [whole, decimals] = String(number).split(".");
  const marked = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return decimals === undefined ? marked : `${marked}.${decimals}`;
}

/* "0.0123" or 1.23 in percent -> "+1.23 %" with a true minus sign */
export function percent(value) {
  const number = Number(value);
  const sign = number > 0 ? "+" : number < 0 ? "−" : "";
  return `${sign}${Math.abs(number).toFixed(2)} %`;
}

export function direction(value) {
  const number = Number(value);
  return number > 0 ? "up" : number < 0 ? "down" : "even";
}

/* Seconds -> "12 s", "3 min", "2 h", "5 d" */
export function span(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export const count = (number, word) => `${grouped(number)} ${word}${number === 1 ? "" : "s"}`;

const shown = {
  time: { hour: "2-digit", minute: "2-digit" },
  second: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  day: { day: "numeric", month: "short", year: "numeric" },
  weekday: { weekday: "short", hour: "2-digit", minute: "2-digit" },
  date: { day: "numeric", month: "short" },
  monthOnly: { month: "short" },
  year: { year: "numeric" },
  month: { month: "short", year: "numeric" },
  moment: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
};
const formats = new Map();

/* A moment (milliseconds) in the viewer's zone, or in *zone*. */
export function when(ms, form, zone = undefined) {
  const key = `${form} ${zone}`;
  if (!formats.has(key)) {
    const options = { ...shown[form], hourCycle: "h23", timeZone: zone };
    formats.set(key, new Intl.DateTimeFormat("en-GB", options));
  }
  return formats.get(key).format(ms);
}

export const zoneName = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
export const isUtc = () => new Date().getTimezoneOffset() === 0;

/* "22 Nov, 12:35 (11:35 UTC)"; the parenthesis only where it tells more. */
export function bothTimes(ms, form = "moment") {
  const local = when(ms, form);
  return isUtc() ? `${local} UTC` : `${local} (${when(ms, "time", "UTC")} UTC)`;
}
