-- The same as price_pages, but what is after the minute is made by a template of source, and of
-- observed_at as text and as JSON; both as they are if it is null.
SELECT page.text, page.near, page.far, page.more,
       extract(EPOCH FROM clock_timestamp() - statement_timestamp())::float AS seconds
  FROM json_to_recordset(%(questions)s::json) AS asked (
         place integer, ticker text, since timestamptz, until timestamptz, count integer,
         before_id text, before_price text, before_day text, before_time text, after_time text)
 CROSS JOIN LATERAL (
    SELECT string_agg(
             concat(
               before_id, id, before_price, price, before_day,
               created_at::date, before_time, created_at::time,
               format(
                 after_time, source, to_char(observed_at, %(moment_pattern)s),
                 coalesce(to_json(to_char(observed_at, %(moment_pattern)s))::text, %(null)s))),
             %(separator)s
             ORDER BY created_at DESC) AS text,
           max(created_at) AS near,
           coalesce(
             (array_agg(created_at ORDER BY created_at DESC))[asked.count], min(created_at)) AS far,
           count(created_at) > asked.count AS more
      FROM (
        SELECT id, price, created_at, source, observed_at
          FROM prices
         WHERE ticker = asked.ticker
           AND created_at >= asked.since
           AND created_at <= asked.until
         ORDER BY created_at DESC
         LIMIT asked.count + 1
      ) AS found
  ) AS page
 ORDER BY asked.place
