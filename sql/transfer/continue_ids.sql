-- Sets the sequences after the largest stored values; setval() of NULL, from an empty table, does
-- nothing. Positions skip those that the lost database may have given to clients of the stream since
-- the backup: theirs are unknown then, and they read the prices again.
SELECT setval(pg_get_serial_sequence('prices', 'id'), (SELECT max(id) FROM prices)),
       setval(pg_get_serial_sequence('internal.batches', 'id'),
              (SELECT max(id) FROM internal.batches)),
       setval('internal.batch_position', (SELECT max(position) + 1000000000 FROM internal.batches))
