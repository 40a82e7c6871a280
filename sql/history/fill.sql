-- Takes the lines of a file, checked one by one; what is empty is null.
COPY incoming (line, ticker, created_at, price, observed_at, source) FROM STDIN (NULL '')
