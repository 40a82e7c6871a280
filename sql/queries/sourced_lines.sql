-- The same as exported_lines, but what is after the minute is made by a template of source, and of
-- observed_at as text and as JSON; both as they are if it is null.
SELECT day.lines
  FROM generate_series(%(midnight)s::timestamptz, %(until)s::timestamptz, make_interval(days => 1))
       WITH ORDINALITY AS midnight (at, place)
 CROSS JOIN LATERAL (
    SELECT string_agg(
             concat(
               %(before_id)s::text, id, %(before_price)s::text, price, %(before_day)s::text,
               created_at::date, %(before_time)s::text, created_at::time,
               format(
                 %(after_time)s::text, source, to_char(observed_at, %(moment_pattern)s),
                 coalesce(to_json(to_char(observed_at, %(moment_pattern)s))::text, %(null)s))),
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
