-- Lets roles read every table, also internal ones: gaps() and the API read the islands.
GRANT SELECT
   ON prices, tickers, misses, candles_1h, candles_1d, latest_prices, internal.price_islands,
      internal.miss_islands, internal.batches, internal.changes, internal.month_revisions,
      internal.heartbeats
   TO {roles}
