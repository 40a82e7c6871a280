-- Pages of prices in [since, until] as text, a row for each query of the batch, in the order of the
-- batch: the first count prices in the given direction. A price is one line between the texts of
-- its query, because separate values would cost the client three times as much, and format() or
-- to_char() the server twice. If more prices follow, the text has one more line; last_at is the
-- minute of the last line of the page. seconds is the duration of the whole batch. The batch is
-- JSON, because the planner would plan an array again for each length.
SELECT page.text, page.first_at, page.last_at, page.more,
       extract(EPOCH FROM clock_timestamp() - statement_timestamp())::float AS seconds
  FROM json_to_recordset(%(batch)s::json) AS query (
         place integer, ticker text, since timestamptz, until timestamptz, count integer,
         before_id text, before_price text, before_day text, before_time text, after_time text)
 CROSS JOIN LATERAL (
    SELECT string_agg(
             concat(
               before_id, id, before_price, price, before_day,
               created_at::date, before_time, created_at::time, {after_time}),
             E'\n'
             ORDER BY created_at {order}) AS text,
           {first}(created_at) AS first_at,
           coalesce(
             (array_agg(created_at ORDER BY created_at {order}))[query.count],
             {last}(created_at)) AS last_at,
           count(created_at) > query.count AS more
      FROM (
        SELECT {columns}
          FROM prices
         WHERE ticker = query.ticker
           AND created_at >= query.since
           AND created_at <= query.until
         ORDER BY created_at {order}
         LIMIT query.count + 1
      ) AS found
  ) AS page
 ORDER BY query.place
