-- Those of the given tables that there are, in the given order: an older schema lacks some.
SELECT given.name
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS given (name, place)
 WHERE to_regclass(given.name) IS NOT NULL
 ORDER BY given.place
