-- Months of one index that have or had prices, ascending, with their revisions; kept_since, before
-- which retention has dropped prices; and until when a month is complete: until its end, or until
-- the minute after the newest price of the index, if that is earlier.
SELECT dated.month, dated.month + INTERVAL '1 month' AS until, dated.revision, known.kept_since,
       least(
         dated.month + INTERVAL '1 month',
         (SELECT max(until)
            FROM internal.price_islands
           WHERE ticker = %(ticker)s)) AS complete_until
  FROM internal.month_revisions AS dated
  JOIN tickers AS known ON known.ticker = dated.ticker
 WHERE dated.ticker = %(ticker)s
 ORDER BY dated.month
