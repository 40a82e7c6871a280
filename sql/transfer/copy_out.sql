-- A whole table as CSV. COPY of the table itself would skip the chunks of a hypertable.
COPY (TABLE {table}) TO STDOUT (FORMAT csv, HEADER)
