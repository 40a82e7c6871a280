/* What a user writes with the types of openapi-typescript and openapi-fetch; __main__.py runs it. */

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const url = process.argv[2] ?? "";
const client = createClient<paths>({ baseUrl: url });
const range = { ticker: "btc_usd", start_date: "2024-01-15T12:00Z", end_date: "2024-01-15T12:10Z" };

const page = await client.GET("/prices", {
  params: { query: { ...range, order: "asc", limit: 6, include: ["source", "observed_at"] } },
});
const prices: components["schemas"]["ListedPrice"][] = page.data ?? [];
assert.deepEqual(prices.map((each) => each.price), [0, 1, 2, 3, 4, 5].map((n) => `10${n}.50`));
assert.deepEqual(prices.map((each) => each.source), [...Array(5).fill("poll"), "chart"]);
assert.equal(prices[0]?.created_at, "2024-01-15T12:00:00Z");
assert.equal(prices[0]?.observed_at, null);

const last = await client.GET("/prices/last", { params: { query: { ticker: "btc_usd" } } });
assert.ok(last.data);
assert.ok(Date.now() - Date.parse(last.data.created_at) < 300_000);

const latest = await client.GET("/prices/latest", {});
assert.deepEqual(latest.data?.map((each) => each.ticker), ["btc_usd", "eth_usd"]);
const past = await client.GET("/prices/at", {
  params: { query: { ticker: ["btc_usd"], date: "2024-01-15T12:07:30Z", tolerance: 100 } },
});
assert.deepEqual(past.data?.map((each) => each.price), ["106.50"]);

const missing = await client.GET("/prices/filtered", {
  params: { query: { ticker: "btc_usd", date: "2024-01-15T12:07Z" } },
});
assert.equal(missing.data, undefined);
assert.equal(missing.error?.status, 404);
const invalid = await client.GET("/prices", { params: { query: { ticker: "btc_usd", limit: 0 } } });
assert.deepEqual(invalid.error?.errors.map((each) => each.name), ["limit"]);

const candles = await client.GET("/prices/candles", {
  params: { query: { ...range, interval: "5m", tz: "Europe/Berlin" } },
});
assert.deepEqual(candles.data?.map((each) => [each.close, each.samples]), [["109.50", 3], ["104.50", 5]]);

const gaps = await client.GET("/prices/gaps", { params: { query: range } });
assert.deepEqual(gaps.data?.map((each) => [each.from, each.minutes]), [["2024-01-15T12:07:00Z", 2]]);

const tickers = await client.GET("/tickers");
assert.deepEqual(tickers.data?.map((each) => each.ticker), ["btc_usd", "eth_usd"]);
assert.equal(tickers.data?.[0]?.first?.price, "100.50");

const exported = await client.GET("/prices/export", { params: { query: range }, parseAs: "text" });
assert.equal(exported.data?.trim().split("\r\n").length, 9);

const bars = await client.GET("/udf/history", {
  params: { query: { symbol: "BTC_USD", resolution: "1", from: 1705320000, to: 1705320600 } },
});
assert.ok(bars.data?.s === "ok");
assert.equal(bars.data.c.at(-1), 109.5);

/* From the first change of btc_usd on: its imported prices. */
const stream = await client.GET("/prices/stream", {
  params: { query: { ticker: ["btc_usd", "eth_usd"], last_event_id: "0" } },
  parseAs: "stream",
});
assert.ok(stream.data);
let text = "";
let event: components["schemas"]["StreamEvent"] | undefined;
for await (const bytes of stream.data) {
  text += Buffer.from(bytes).toString();
  const data = /event: price\ndata: (.*)\n\n/.exec(text)?.[1];
  if (data) {
    event = JSON.parse(data);
    break;
  }
}
assert.ok(event && "price" in event);
assert.equal(event.ticker, "btc_usd");
process.exit(); // the stream is still open
