-- The newest prices of one index in [since, until], at most count of them, as text: a row. Lines are
-- made by a template of id, ticker, price and created_at, the newest first: values that are read
-- one by one would cost whoever asks three times as much. More tells of a price beyond.
SELECT string_agg(
         format(%(template)s, id, ticker, price, to_char(created_at, %(minute_pattern)s)),
         %(separator)s
         ORDER BY created_at DESC) FILTER (WHERE place <= %(count)s) AS text,
       min(created_at) FILTER (WHERE place <= %(count)s) AS oldest,
       max(created_at) FILTER (WHERE place <= %(count)s) AS newest,
       count(place) > %(count)s AS more
  FROM (
    SELECT id, ticker, price, created_at,
           row_number() OVER (ORDER BY created_at DESC) AS place
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT %(count)s + 1
  ) AS page
