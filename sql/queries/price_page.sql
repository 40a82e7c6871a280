-- The newest prices of one index in [since, until] as text: a row. Lines are made by a template of id,
-- ticker, price and created_at, the newest first: values that are read one by one would cost whoever
-- asks three times as much. They are count at most, and one more if there is one; far is the minute of
-- the last that is meant.
SELECT string_agg(
         format(%(template)s, id, ticker, price, to_char(created_at, %(minute_pattern)s)),
         %(separator)s
         ORDER BY created_at DESC) AS text,
       max(created_at) AS near,
       coalesce(
         (array_agg(created_at ORDER BY created_at DESC))[%(count)s], min(created_at)) AS far,
       count(created_at) > %(count)s AS more
  FROM (
    SELECT id, ticker, price, created_at
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT %(count)s + 1
  ) AS page
