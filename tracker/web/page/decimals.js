/* The decimals of each index. Averages of chart data have more and are rounded to them. */

const MAX_DECIMALS = 100; // of Intl.NumberFormat
const known = new Map();
const formatters = new Map();

/* summaries: as /tickers returns them */
export function setDecimals(summaries) {
  for (const { ticker, decimals } of summaries) raiseDecimals(ticker, decimals);
}

/* price: of the stream; a polled one may have more decimals than the index had until now */
export function noticeDecimals({ ticker, price, source }) {
  if (source === "poll") raiseDecimals(ticker, countDecimals(price.replace(/0+$/, "")));
}

export const decimalsOf = (ticker) => known.get(ticker) ?? 2;

/* "68241.5" -> "68,241.50" with the decimals of *ticker* */
export function formatPrice(price, ticker) {
  const digits = Math.min(decimalsOf(ticker), MAX_DECIMALS);
  if (!formatters.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    formatters.set(digits, new Intl.NumberFormat("en-US", options));
  }
  return formatters.get(digits).format(String(price)); // a string is formatted exactly
}

function raiseDecimals(ticker, count) {
  known.set(ticker, Math.max(count, known.get(ticker) ?? 2));
}

const countDecimals = (text) => (text.split(".")[1] ?? "").length;
