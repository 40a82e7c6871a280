-- A summary of each tracked index (tickers: of these only), by name: its first tracked minute, the
-- number of stored minutes and of those that are missing of the 24 hours up to the minute of until,
-- its oldest and newest price in [since, until], the last price of the hour that ended 24 hours
-- before the newest, and the highest and lowest price of the 24 hours up to the newest. A value
-- without a price is null.
-- decimals is the number of decimals of its prices, without zeros at their ends, at least 2. Averages of charts
-- have more than polled prices: therefore it is that of the hours of that day in which all prices
-- were polled; without such prices, that of the polled prices among its newest, or of all these.
SELECT known.ticker, known.since, stored.minutes, stored.missing,
       oldest.price AS first_price, oldest.created_at AS first_at,
       newest.price AS newest_price, newest.created_at AS newest_at,
       past.price AS past_price, day.high, day.low,
       greatest(2, coalesce(day.decimals, (
           SELECT coalesce(max(min_scale(price)) FILTER (WHERE source = 'poll'),
                           max(min_scale(price)))
             FROM (
               SELECT price, source
                 FROM prices
                WHERE ticker = known.ticker
                  AND created_at >= %(since)s::timestamptz
                  AND created_at <= %(until)s::timestamptz
                ORDER BY created_at DESC
                LIMIT 60
             ) AS sample
       ))) AS decimals
  FROM tickers AS known
 CROSS JOIN LATERAL (
    SELECT greatest(known.since, minute - make_interval(hours => 24)) AS since, minute AS until
      FROM date_trunc('minute', %(until)s::timestamptz) AS minute
  ) AS tracked
 CROSS JOIN LATERAL (
    SELECT coalesce(extract(EPOCH FROM sum(until - since))::bigint / 60, 0) AS minutes,
           extract(EPOCH FROM greatest(tracked.until - tracked.since, make_interval()) - coalesce(
               sum(least(until, tracked.until) - greatest(since, tracked.since))
                   FILTER (WHERE since < tracked.until AND until > tracked.since),
               make_interval()))::integer / 60 AS missing
      FROM internal.price_islands
     WHERE ticker = known.ticker
  ) AS stored
  LEFT JOIN LATERAL (
    SELECT price, created_at
      FROM prices
     WHERE ticker = known.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at
     LIMIT 1
  ) AS oldest ON true
  LEFT JOIN LATERAL (
    SELECT price, created_at
      FROM prices
     WHERE ticker = known.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT 1
  ) AS newest ON true
  LEFT JOIN LATERAL (
    SELECT price
      FROM prices
     WHERE ticker = known.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
       AND created_at > newest.created_at - make_interval(hours => 25)
       AND created_at <= newest.created_at - make_interval(hours => 24)
     ORDER BY created_at DESC
     LIMIT 1
  ) AS past ON true
 CROSS JOIN LATERAL (
    SELECT max(high) AS high, min(low) AS low, max(decimals) AS decimals
      FROM (
        SELECT high, low,
               CASE WHEN polled = samples THEN greatest(
                   min_scale(open), min_scale(high), min_scale(low), min_scale(close))
               END AS decimals
          FROM candles_1h
         WHERE ticker = known.ticker
           AND bucket >= newest.created_at - make_interval(hours => 24)
           AND bucket < time_bucket(make_interval(hours => 1), newest.created_at)
         UNION ALL
        SELECT price, price, NULL
          FROM prices
         WHERE ticker = known.ticker
           AND created_at >= %(since)s::timestamptz
           AND created_at <= %(until)s::timestamptz
           AND created_at >= newest.created_at - make_interval(hours => 24)
           AND created_at < time_bucket(
               make_interval(hours => 1), newest.created_at - make_interval(hours => 23))
         UNION ALL
        SELECT price, price, NULL
          FROM prices
         WHERE ticker = known.ticker
           AND created_at >= %(since)s::timestamptz
           AND created_at <= %(until)s::timestamptz
           AND created_at >= time_bucket(make_interval(hours => 1), newest.created_at)
           AND created_at <= newest.created_at
      ) AS part
  ) AS day
 WHERE %(tickers)s::text[] IS NULL OR known.ticker = ANY (%(tickers)s::text[])
 ORDER BY known.ticker
