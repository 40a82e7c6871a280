-- Statistics of the stored minutes of one index in [since, until): 1 row, with nulls where it has
-- too few.
SELECT %(ticker)s::text AS ticker, first_at, first, last_at, last, high_at, high, low_at, low,
       change, change_percent, mean, twap, log_returns, log_return_mean, log_return_stddev,
       realised_volatility, max_drawdown_percent, peak_at, peak, trough_at, trough,
       samples, polled, charted AS chart, imported, expected, missing, ratio::double precision
  FROM stats(%(ticker)s, %(since)s::timestamptz, %(until)s::timestamptz)
