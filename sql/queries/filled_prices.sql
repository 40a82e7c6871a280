-- Every minute of one index in [since, until], ascending: stored or filled; a filled one has the
-- previous price.
SELECT minute.id, %(ticker)s::text AS ticker, series.price, series.created_at, series.filled,
       minute.source, minute.observed_at
  FROM filled(
      %(ticker)s, %(since)s::timestamptz, %(until)s::timestamptz + INTERVAL '1 min') AS series
  LEFT JOIN prices AS minute
    ON minute.ticker = %(ticker)s
   AND minute.created_at >= %(since)s::timestamptz
   AND minute.created_at <= %(until)s::timestamptz
   AND minute.created_at = series.created_at
 ORDER BY series.created_at
