-- How complete are the stored prices? For each index and UTC month, the minutes that could have
-- been stored, and those that are.
SELECT known.ticker, to_char(month.start AT TIME ZONE 'UTC', 'YYYY-MM') AS month,
       part.expected, part.expected - lacking.minutes AS stored,
       round(100 - 100 * lacking.minutes / nullif(part.expected, 0), 3) AS percent
  FROM tickers AS known
 CROSS JOIN LATERAL (
    SELECT start, next_bucket('1 month', start + INTERVAL '1 us') AS stop
      FROM generate_series(
               date_trunc('month', known.since, 'UTC'), now(), INTERVAL '1 month', 'UTC'
           ) AS series (start)
  ) AS month
 CROSS JOIN LATERAL (
    SELECT extract(EPOCH FROM least(month.stop, date_trunc('minute', now(), 'UTC'))
                   - greatest(month.start, known.since))::bigint / 60 AS expected
  ) AS part
 CROSS JOIN LATERAL (
    SELECT coalesce(sum(minutes), 0) AS minutes
      FROM gaps(known.ticker, month.start, month.stop)
  ) AS lacking
 ORDER BY known.ticker, month.start;
