-- Lets roles replace a charted price by a polled one.
GRANT UPDATE (price, observed_at, source)
   ON prices
   TO {roles}
