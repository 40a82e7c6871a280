-- How the recording of each index went, in the order asked: how many minutes of [since, until), since it
-- is tracked, have no price; why its newest poll of [since, until] failed, null if it did not; and the
-- newest minute in there that was polled, null if none was.
SELECT asked.ticker,
       greatest(0, extract(EPOCH FROM %(until)s::timestamptz - greatest(
           %(since)s::timestamptz, coalesce(known.since, %(until)s::timestamptz))) / 60
       )::integer - hour.minutes AS missing,
       failed.reason AS failing,
       hour.polled
  FROM unnest(%(tickers)s::text[]) WITH ORDINALITY AS asked (ticker, place)
  LEFT JOIN tickers AS known
    ON known.ticker = asked.ticker
 CROSS JOIN LATERAL (
    SELECT count(created_at) FILTER (WHERE created_at < %(until)s)::integer AS minutes,
           max(created_at) FILTER (WHERE source = %(polled)s) AS polled
      FROM prices
     WHERE ticker = asked.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
  ) AS hour
  LEFT JOIN LATERAL (
    SELECT reason
      FROM misses
     WHERE ticker = asked.ticker
       AND minute >= %(since)s::timestamptz
       AND minute <= %(until)s::timestamptz
       AND (minute > hour.polled OR hour.polled IS NULL)
     ORDER BY minute DESC
     LIMIT 1
  ) AS failed ON true
 ORDER BY asked.place
