-- All of a table as CSV: COPY by itself would pass over the chunks of a hypertable.
COPY (TABLE {table}) TO STDOUT (FORMAT csv, HEADER)
