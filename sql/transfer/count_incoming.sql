-- Lines of each index, the minutes they are for, and how many are before retained_since, by name.
SELECT ticker,
       count(*) AS lines,
       count(DISTINCT created_at) AS minutes,
       count(*) FILTER (WHERE created_at < %(retained_since)s::timestamptz) AS too_old
  FROM incoming
 GROUP BY ticker
 ORDER BY ticker
