/* Links to what the chart shows, as files. */

import { apiUrl } from "./api.js";
import { byId } from "./dom.js";

const MAX_CANDLES = 1000; // of a page of the API

/* from, to: the moments between which the chart shows *count* buckets */
export function showDownloads({ ticker, interval }, from, to, count) {
  byId("download").hidden = false;
  const [start_date, end_date] = [from, to].map((moment) => new Date(moment).toISOString());
  const range = { ticker, start_date, end_date };
  const candles = { ...range, interval, order: "asc", limit: MAX_CANDLES, format: "csv" };
  const link = byId("candles-csv");
  link.href = apiUrl("prices/candles", candles);
  link.download = `${ticker}-${interval}.csv`;
  link.hidden = count > MAX_CANDLES;
  for (const format of ["csv", "parquet"]) {
    byId(`prices-${format}`).href = apiUrl("prices/export", { ...range, format });
  }
}
