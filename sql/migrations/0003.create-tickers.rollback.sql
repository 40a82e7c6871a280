DROP TABLE tickers;
