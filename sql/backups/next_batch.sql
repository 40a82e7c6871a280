-- Lets ids and positions of new batches begin after those that are stored.
SELECT setval(pg_get_serial_sequence('internal.batches', 'id'), max(id)),
       setval('internal.batch_position', max(position))
  FROM internal.batches
HAVING count(*) > 0
