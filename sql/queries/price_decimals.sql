-- The number of decimals of one index, without trailing zeros: 1 row, null without prices. That of
-- its newest polled prices if there are any, because averages of charts have more.
SELECT coalesce(max(min_scale(price)) FILTER (WHERE source = 'poll'), max(min_scale(price)))
  FROM (
    SELECT price, source
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT %(count)s
  ) AS newest
