-- Takes a table as CSV without its header, which named the columns.
COPY {table} ({columns}) FROM STDIN (FORMAT csv)
