-- The same as price_page, from the oldest on.
SELECT string_agg(
         format(%(template)s, id, ticker, price, to_char(created_at, %(minute_pattern)s)),
         %(separator)s
         ORDER BY created_at) AS text,
       min(created_at) AS near,
       coalesce(
         (array_agg(created_at ORDER BY created_at))[%(count)s], max(created_at)) AS far,
       count(created_at) > %(count)s AS more
  FROM (
    SELECT id, ticker, price, created_at
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at
     LIMIT %(count)s + 1
  ) AS page
