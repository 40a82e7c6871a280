-- How does volatility change? The annualised realised volatility of the 24 hours up to the end of
-- each complete hour of the last week, in per cent, and the number of log returns that it is of.
SELECT hour, round(100 * volatility::numeric, 2) AS volatility, log_returns
  FROM (
    SELECT hour, sum(log_returns) OVER day AS log_returns,
           sqrt(525600 * sum(squares) OVER day / sum(log_returns) OVER day) AS volatility
      FROM (
        SELECT time_bucket('1 hour', created_at) AS hour, count(*) AS log_returns,
               sum(log_return * log_return) AS squares
          FROM log_returns(
              'btc_usd', now() - INTERVAL '8 days', date_trunc('hour', now(), 'UTC'))
         GROUP BY hour
      ) AS sums
    WINDOW day AS (
        ORDER BY hour RANGE BETWEEN INTERVAL '23 hours' PRECEDING AND CURRENT ROW)
  ) AS rolling
 WHERE hour >= now() - INTERVAL '7 days'
 ORDER BY hour;
