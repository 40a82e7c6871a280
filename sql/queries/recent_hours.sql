-- Recording of each requested index in [since, until), in the order of the request. missing: the
-- number of tracked minutes without a price; failing: the reason of the newest failed poll in
-- [since, until], null if a later minute was polled; polled: the newest polled minute in [since,
-- until], or null.
SELECT requested.ticker,
       greatest(0, extract(EPOCH FROM %(until)s::timestamptz - greatest(
           %(since)s::timestamptz, coalesce(known.since, %(until)s::timestamptz))) / 60
       )::integer - hour.minutes AS missing,
       failed.reason AS failing,
       hour.polled
  FROM unnest(%(tickers)s::text[]) WITH ORDINALITY AS requested (ticker, place)
  LEFT JOIN tickers AS known
    ON known.ticker = requested.ticker
 CROSS JOIN LATERAL (
    SELECT count(created_at) FILTER (WHERE created_at < %(until)s)::integer AS minutes,
           max(created_at) FILTER (WHERE source = 'poll') AS polled
      FROM prices
     WHERE ticker = requested.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
  ) AS hour
  LEFT JOIN LATERAL (
    SELECT reason
      FROM misses
     WHERE ticker = requested.ticker
       AND minute >= %(since)s::timestamptz
       AND minute <= %(until)s::timestamptz
       AND (minute > hour.polled OR hour.polled IS NULL)
     ORDER BY minute DESC
     LIMIT 1
  ) AS failed ON true
 ORDER BY requested.place
