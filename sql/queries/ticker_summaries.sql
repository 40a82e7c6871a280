-- A summary of each tracked index, by name: its first tracked minute, the number of stored minutes,
-- its oldest and newest price in [since, until], the last price of the hour that ended 24 hours
-- before the newest, and the highest and lowest price of the 24 hours up to the newest. A value
-- without a price is null.
SELECT known.ticker, known.since, stored.minutes,
       oldest.price AS first_price, oldest.created_at AS first_at,
       newest.price AS newest_price, newest.created_at AS newest_at,
       past.price AS past_price, day.high, day.low
  FROM tickers AS known
 CROSS JOIN LATERAL (
    SELECT coalesce(extract(EPOCH FROM sum(until - since))::bigint / 60, 0) AS minutes
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
    SELECT max(high) AS high, min(low) AS low
      FROM (
        SELECT high, low
          FROM candles_1h
         WHERE ticker = known.ticker
           AND bucket >= newest.created_at - make_interval(hours => 24)
           AND bucket < time_bucket(make_interval(hours => 1), newest.created_at)
         UNION ALL
        SELECT price, price
          FROM prices
         WHERE ticker = known.ticker
           AND created_at >= %(since)s::timestamptz
           AND created_at <= %(until)s::timestamptz
           AND created_at >= newest.created_at - make_interval(hours => 24)
           AND created_at < time_bucket(
               make_interval(hours => 1), newest.created_at - make_interval(hours => 23))
         UNION ALL
        SELECT price, price
          FROM prices
         WHERE ticker = known.ticker
           AND created_at >= %(since)s::timestamptz
           AND created_at <= %(until)s::timestamptz
           AND created_at >= time_bucket(make_interval(hours => 1), newest.created_at)
           AND created_at <= newest.created_at
      ) AS part
  ) AS day
 ORDER BY known.ticker
