-- The first polled or stored minute of one index: 0 or 1 row.
SELECT since
  FROM tickers
 WHERE ticker = %(ticker)s
