-- Prices in [since, until) as CSV, by index and then oldest first; of all indexes if none is given.
-- The session is in UTC and ISO: "2024-01-15 12:00:00+00". to_char would take three times as long.
COPY (
    SELECT ticker,
           replace(replace(created_at::text, ' ', 'T'), '+00', 'Z') AS created_at,
           price,
           replace(replace(observed_at::text, ' ', 'T'), '+00', 'Z') AS observed_at,
           source
      FROM prices
     WHERE (cardinality(%(tickers)s::text[]) = 0 OR ticker = ANY (%(tickers)s))
       AND prices.created_at >= %(since)s::timestamptz
       AND prices.created_at < %(until)s::timestamptz
     ORDER BY ticker, prices.created_at
) TO STDOUT (FORMAT csv, HEADER)
