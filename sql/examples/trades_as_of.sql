-- What were my trades worth? Each has the newest price at its moment, at most five minutes old, or
-- none. Put your own table (sql/README.md, Own tables) in the place of the list.
  WITH trades (at, amount) AS (
    VALUES (now() - INTERVAL '70 hours', 0.5), (now() - INTERVAL '41 hours', 0.25),
           (now() - INTERVAL '31 hours 7 min', -0.75)
)
SELECT trades.at, trades.amount, quote.created_at, quote.price,
       trades.amount * quote.price AS worth
  FROM trades
  LEFT JOIN LATERAL price_at('btc_usd', trades.at, '5 min') AS quote ON true
 ORDER BY trades.at;
