-- The number of rows and the sum of their hashes for each index of a table, independent of the
-- order of rows. The column {key} names the index. md5 is the same on every server and version.
SELECT {key}::text AS name, count(*), sum(('x' || left(md5(each::text), 15))::bit(60)::bigint)::text
  FROM {table} AS each
 GROUP BY name
 ORDER BY name
