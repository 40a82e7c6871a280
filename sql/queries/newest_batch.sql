-- The position of the newest change of prices; 0 before the first.
SELECT coalesce(max(position), 0)
  FROM internal.batches
