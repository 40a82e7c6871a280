-- What was one index worth in the other in each minute, also where a price is missing? Ether in
-- bitcoin over the last six hours: a missing price is the previous one, and flagged.
SELECT created_at, round(eth.price / btc.price, 6) AS ratio, eth.filled OR btc.filled AS filled
  FROM filled('eth_usd', now() - INTERVAL '6 hours', now()) AS eth
  JOIN filled('btc_usd', now() - INTERVAL '6 hours', now()) AS btc
 USING (created_at)
 ORDER BY created_at;
