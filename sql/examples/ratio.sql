-- What is one index worth in the other? Ether in bitcoin, hour by hour, over the last week.
SELECT start, round(eth.close / btc.close, 6) AS ratio
  FROM candles('eth_usd', '1 hour', now() - INTERVAL '7 days', now()) AS eth
  JOIN candles('btc_usd', '1 hour', now() - INTERVAL '7 days', now()) AS btc
 USING (start)
 ORDER BY start;
