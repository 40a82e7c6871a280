-- Drops lines that repeat the minute of an earlier one; shown are the first that give it another
-- price, with the earlier line, both prices, and how many such lines there are.
WITH repeated AS (
    DELETE FROM incoming
     USING (
        SELECT line, first_value(line) OVER same AS first, first_value(price) OVER same AS price
          FROM incoming
        WINDOW same AS (PARTITION BY ticker, created_at ORDER BY line)
     ) AS said
     WHERE incoming.line = said.line AND incoming.line > said.first
    RETURNING incoming.line, incoming.price, said.first, said.price AS first_price
)
SELECT line, price, first, first_price, count(*) OVER () AS all
  FROM repeated
 WHERE price <> first_price
 ORDER BY line
 LIMIT %(shown)s
