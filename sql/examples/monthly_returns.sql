-- What did each month return? A row for each of the last five years: the change from the first
-- price of each month to its last, and of the year, in per cent. The present month is not over.
SELECT year,
       round(100 * sum(change) FILTER (WHERE month = 1), 2) AS jan,
       round(100 * sum(change) FILTER (WHERE month = 2), 2) AS feb,
       round(100 * sum(change) FILTER (WHERE month = 3), 2) AS mar,
       round(100 * sum(change) FILTER (WHERE month = 4), 2) AS apr,
       round(100 * sum(change) FILTER (WHERE month = 5), 2) AS may,
       round(100 * sum(change) FILTER (WHERE month = 6), 2) AS jun,
       round(100 * sum(change) FILTER (WHERE month = 7), 2) AS jul,
       round(100 * sum(change) FILTER (WHERE month = 8), 2) AS aug,
       round(100 * sum(change) FILTER (WHERE month = 9), 2) AS sep,
       round(100 * sum(change) FILTER (WHERE month = 10), 2) AS oct,
       round(100 * sum(change) FILTER (WHERE month = 11), 2) AS nov,
       round(100 * sum(change) FILTER (WHERE month = 12), 2) AS dec,
       round(100 * (last(close, start) / first(open, start) - 1), 2) AS total
  FROM (
    SELECT start, open, close, close / open - 1 AS change,
           extract(YEAR FROM start AT TIME ZONE 'UTC')::integer AS year,
           extract(MONTH FROM start AT TIME ZONE 'UTC')::integer AS month
      FROM candles(
          'btc_usd', '1 month', date_trunc('year', now() - INTERVAL '4 years', 'UTC'), now())
  ) AS candle
 GROUP BY year
 ORDER BY year;
