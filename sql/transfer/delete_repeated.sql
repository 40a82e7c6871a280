-- Deletes lines that repeat the minute of an earlier line. Returns the first "shown" of those with
-- another price: line, price, the earlier line, its price, and how many such lines there are.
WITH repeated AS (
    DELETE FROM incoming
     USING (
        SELECT line,
               first_value(line) OVER same_minute AS first_line,
               first_value(price) OVER same_minute AS first_price
          FROM incoming
        WINDOW same_minute AS (PARTITION BY ticker, created_at ORDER BY line)
     ) AS compared
     WHERE incoming.line = compared.line AND incoming.line > compared.first_line
    RETURNING incoming.line, incoming.price, compared.first_line, compared.first_price
)
SELECT line, price, first_line, first_price, count(*) OVER () AS total
  FROM repeated
 WHERE price <> first_price
 ORDER BY line
 LIMIT %(shown)s
