-- Prices of one index in [since, until] as text, oldest first: a row for each day from the midnight of
-- since on that has any. Its lines, each between the same texts, stand between separators: a row for
-- each line would cost whoever reads them ten times as much.
SELECT day.lines
  FROM generate_series(%(midnight)s::timestamptz, %(until)s::timestamptz, make_interval(days => 1))
       WITH ORDINALITY AS midnight (at, place)
 CROSS JOIN LATERAL (
    SELECT string_agg(
             concat(
               %(before_id)s::text, id, %(before_price)s::text, price, %(before_day)s::text,
               created_at::date, %(before_time)s::text, created_at::time, %(after_time)s::text),
             %(separator)s
             ORDER BY created_at) AS lines
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
       AND created_at >= midnight.at
       AND created_at < midnight.at + make_interval(days => 1)
  ) AS day
 WHERE day.lines IS NOT NULL
 ORDER BY midnight.place
