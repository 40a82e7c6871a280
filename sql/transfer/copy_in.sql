-- Loads a table from CSV without its header, which named the columns.
COPY {table} ({columns}) FROM STDIN (FORMAT csv)
