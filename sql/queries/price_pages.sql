-- Prices of one index in [since, until] as text, a row for each query of the batch, in its order: the first
-- count of them in the given direction. A line for each price stands between the texts of its query: values
-- that are read one by one would cost the client three times as much, and format() and to_char() the server
-- twice. If more follow, the text has one line more; last_at is the minute of the last that counts. seconds
-- is what the whole batch took. The batch is JSON: the planner would plan again for each length of an array.
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
