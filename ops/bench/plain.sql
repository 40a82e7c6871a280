-- The rows of prices in a table that knows nothing of time, with the same index.
CREATE TABLE plain AS SELECT id, ticker, price, created_at FROM prices ORDER BY ticker, created_at;
ALTER TABLE plain ADD PRIMARY KEY (ticker, created_at) INCLUDE (price, id);
