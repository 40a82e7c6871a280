-- Changes after a position in the order of their commits, at most count: each minute once, at its
-- newest change. A position is a batch, the number of an index in it, and a place in the minutes
-- that it changed of that index. Of the given indexes; null: of all.
-- A batch names each index that it changed, and revisions have no gaps: the n-th newest batch that
-- names an index made its n-th newest revision. Where the log has another one, or none, or more
-- than max_minutes minutes changed, the index is lost: all of it must be read again. So are all, if
-- the position is unknown, or more than max_batches batches follow. Lost indexes come first,
-- because the position after a page no longer shows that they are lost.
-- Every row has the newest batch, and whether more rows follow; without changes it is the only one.
WITH batch AS (
    SELECT id, position, tickers
      FROM internal.batches
     WHERE position >= %(batch)s::bigint
     ORDER BY position
     LIMIT %(max_batches)s::bigint
), log AS (
    SELECT coalesce((SELECT max(position) FROM internal.batches), 0) AS newest,
           (SELECT count(*) FROM batch) < %(max_batches)s::bigint
           AND (%(batch)s::bigint = 0
                OR EXISTS (SELECT FROM batch WHERE position = %(batch)s::bigint)) AS is_known
), named AS (
    SELECT batch.id, batch.position, listed.ticker, listed.number,
           row_number() OVER (PARTITION BY listed.ticker ORDER BY batch.position DESC) AS back
      FROM batch
     CROSS JOIN unnest(batch.tickers) WITH ORDINALITY AS listed (ticker, number)
     WHERE (%(tickers)s::text[] IS NULL OR listed.ticker = ANY (%(tickers)s::text[]))
       AND (batch.position, listed.number) >= (%(batch)s::bigint, %(number)s::bigint)
), change AS (
    SELECT named.position, named.number, named.ticker, logged.revision,
           logged.first_minute, logged.last_minute, logged.minutes
      FROM named
      LEFT JOIN tickers AS known ON known.ticker = named.ticker
      LEFT JOIN internal.changes AS logged
        ON logged.ticker = named.ticker
       AND logged.revision = known.revision + 1 - named.back
       AND logged.batch = named.id
), lost AS (
    SELECT ticker
      FROM change
     GROUP BY ticker
    HAVING count(revision) < count(*) OR sum(cardinality(minutes)) > %(max_minutes)s::bigint
     UNION
    SELECT ticker
      FROM tickers
     WHERE NOT (SELECT is_known FROM log)
       AND (%(tickers)s::text[] IS NULL OR ticker = ANY (%(tickers)s::text[]))
), step AS (
    SELECT position, number, place, ticker, first_minute, last_minute
      FROM (
        SELECT DISTINCT ON (change.ticker, listed.minute)
               change.position, change.number, listed.place, change.ticker,
               listed.minute AS first_minute, listed.minute AS last_minute
          FROM change
         CROSS JOIN unnest(change.minutes) WITH ORDINALITY AS listed (minute, place)
         ORDER BY change.ticker, listed.minute, change.position DESC
      ) AS touched
     WHERE (position, number, place)
           > (%(batch)s::bigint, %(number)s::bigint, %(place)s::bigint)
     UNION ALL
    SELECT position, number, NULL, ticker, first_minute, last_minute
      FROM change
     WHERE revision IS NOT NULL
       AND minutes IS NULL
), page AS (
    SELECT position, number, place, ticker, first_minute, last_minute
      FROM step
     WHERE ticker NOT IN (SELECT ticker FROM lost)
     ORDER BY position, number, place
     LIMIT %(count)s::bigint
), found AS (
    SELECT false AS lost, position, number, place, ticker, first_minute, last_minute
      FROM page
     UNION ALL
    SELECT true, NULL, NULL, NULL, ticker, NULL, NULL
      FROM lost
)
SELECT log.newest, (SELECT count(*) FROM page) = %(count)s::bigint AS more,
       found.lost, found.position AS batch, found.number, found.place,
       found.ticker, found.first_minute, found.last_minute
  FROM log
  LEFT JOIN found ON true
 ORDER BY found.lost DESC, found.position, found.number, found.place, found.ticker
