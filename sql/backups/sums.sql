-- How many rows of a table each index has, and the sum of their hashes, whatever their order is.
-- {key} is the column with the index's name. md5 is the same on every server, in every version.
SELECT {key}::text AS name, count(*), sum(('x' || left(md5(each::text), 15))::bit(60)::bigint)::text
  FROM {table} AS each
 GROUP BY name
 ORDER BY name
