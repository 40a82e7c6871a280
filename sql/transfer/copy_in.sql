-- Loads a table from CSV whose header, which named the columns, has been read.
COPY {table} ({columns}) FROM STDIN (FORMAT csv)
