-- When each part that ever gave a sign of life last did.
SELECT part, at
  FROM heartbeats
 ORDER BY part
