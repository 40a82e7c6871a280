-- Prices of one index in [since, until] as pieces of columnar.py, ascending: a row for each four weeks
-- with prices, counted from the first one. The server takes longer than what reads its rows, and a
-- time in binary a fifth of one as text; 262968 hours lie between its epoch, 2000, and 1970.
SELECT piece.rows
  FROM generate_series(
         (SELECT min(created_at)
            FROM prices
           WHERE ticker = %(ticker)s
             AND created_at >= %(since)s::timestamptz
             AND created_at <= %(until)s::timestamptz),
         (SELECT max(created_at)
            FROM prices
           WHERE ticker = %(ticker)s
             AND created_at >= %(since)s::timestamptz
             AND created_at <= %(until)s::timestamptz),
         INTERVAL '28 days')
       WITH ORDINALITY AS start (at, place)
 CROSS JOIN LATERAL (
    SELECT int4send(count(*)::integer)
           || string_agg(
             timestamptz_send(created_at + INTERVAL '262968 hours'), '' ORDER BY created_at)
           || convert_to(string_agg(concat(price{extras}), E'\n' ORDER BY created_at), 'UTF8')
           AS rows
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
       AND created_at >= start.at
       AND created_at < start.at + INTERVAL '28 days'
  ) AS piece
 WHERE piece.rows IS NOT NULL
 ORDER BY start.place
