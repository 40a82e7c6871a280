-- When did recording fail longest in the last 30 days, and why?
SELECT known.ticker, gap.start, gap.stop, gap.minutes, gap.reason
  FROM tickers AS known
 CROSS JOIN LATERAL gaps(known.ticker, now() - INTERVAL '30 days', now()) AS gap
 ORDER BY gap.minutes DESC, known.ticker, gap.start
 LIMIT 10;
