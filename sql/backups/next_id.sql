-- Lets the ids of new prices begin after those that are stored.
SELECT setval(pg_get_serial_sequence('prices', 'id'), max(id))
  FROM prices
HAVING count(*) > 0
