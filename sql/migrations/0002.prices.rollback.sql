DROP TABLE misses;

DROP TABLE tickers;

DROP TABLE prices;
