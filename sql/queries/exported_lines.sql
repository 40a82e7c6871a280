-- Prices of one index in [since, until] as text, ascending: a row for each UTC day with prices. The
-- parameter midnight is that of the first day. A row joins its lines with separator, because a row
-- for each line would cost the client ten times as much.
SELECT day.lines
  FROM generate_series(%(midnight)s::timestamptz, %(until)s::timestamptz, INTERVAL '1 day')
       WITH ORDINALITY AS midnight (at, place)
 CROSS JOIN LATERAL (
    SELECT string_agg(
             concat(
               %(before_id)s::text, id, %(before_price)s::text, price, %(before_day)s::text,
               created_at::date, %(before_time)s::text, created_at::time, {after_time}),
             %(separator)s
             ORDER BY created_at) AS lines
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
       AND created_at >= midnight.at
       AND created_at < midnight.at + INTERVAL '1 day'
  ) AS day
 WHERE day.lines IS NOT NULL
 ORDER BY midnight.place
