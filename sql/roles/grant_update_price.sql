-- Lets roles replace the price of a chart by a polled one.
GRANT UPDATE (price, observed_at, source)
   ON prices
   TO {roles}
