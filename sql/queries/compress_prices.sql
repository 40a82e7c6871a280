-- Compresses the oldest chunk that ends before the horizon and is not compressed yet: 1 row, its name;
-- null if there is none.
SELECT compress_prices(%(horizon)s::timestamptz)
