-- Deletes misses that a wrong clock recorded, as of a moment that the exchange confirmed. 1 row: their
-- number.
SELECT internal.discard_misses(%(moment)s::timestamptz)
