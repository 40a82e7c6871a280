-- Sets the sequences after the largest stored values; setval() of NULL, from an empty table, does
-- nothing.
SELECT setval(pg_get_serial_sequence('prices', 'id'), (SELECT max(id) FROM prices)),
       setval(pg_get_serial_sequence('internal.batches', 'id'),
              (SELECT max(id) FROM internal.batches)),
       setval('internal.batch_position', (SELECT max(position) FROM internal.batches))
