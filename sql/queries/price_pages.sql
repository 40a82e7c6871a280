-- Prices as text, an answer for each question: the newest of one index in [since, until]. A line stands
-- between the texts of its question, the newest first: values that are read one by one would cost whoever
-- asks three times as much, and format() and to_char() the server twice. Lines are count at most, and one
-- more if there is one; far is the minute of the last that is meant; seconds is what all took. Questions
-- are JSON, as the planner would plan anew for each length of an array.
SELECT page.text, page.near, page.far, page.more,
       extract(EPOCH FROM clock_timestamp() - statement_timestamp())::float AS seconds
  FROM json_to_recordset(%(questions)s::json) AS asked (
         place integer, ticker text, since timestamptz, until timestamptz, count integer,
         before_id text, before_price text, before_day text, before_time text, after_time text)
 CROSS JOIN LATERAL (
    SELECT string_agg(
             concat(
               before_id, id, before_price, price, before_day,
               created_at::date, before_time, created_at::time, after_time),
             %(separator)s
             ORDER BY created_at DESC) AS text,
           max(created_at) AS near,
           coalesce(
             (array_agg(created_at ORDER BY created_at DESC))[asked.count], min(created_at)) AS far,
           count(created_at) > asked.count AS more
      FROM (
        SELECT id, price, created_at
          FROM prices
         WHERE ticker = asked.ticker
           AND created_at >= asked.since
           AND created_at <= asked.until
         ORDER BY created_at DESC
         LIMIT asked.count + 1
      ) AS found
  ) AS page
 ORDER BY asked.place
