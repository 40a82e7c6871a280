-- Copies parsed lines into the table of an import; an empty value is NULL.
COPY incoming (line, ticker, created_at, price, observed_at, source) FROM STDIN (NULL '')
