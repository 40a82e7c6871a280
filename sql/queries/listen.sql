-- Subscribes this connection to the notifications of commits that change prices.
LISTEN prices
