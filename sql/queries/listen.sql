-- Announces every commit that changes prices, on this connection.
LISTEN prices
