"""Everything that the migrations make, as text."""

import psycopg

from tracker.settings import Settings

# Tables, functions and so on with their comments, without those of extensions.
_SCHEMA = """
WITH places AS (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'internal')),
ours AS (SELECT oid FROM pg_class WHERE relnamespace IN (TABLE places)
                 AND relkind IN ('r', 'S', 'v', 'm') AND relname !~ 'yoyo')
SELECT 'column', format('%s.%s %s %s', attrelid::regclass, attname,
       format_type(atttypid, atttypmod), attnotnull), col_description(attrelid, attnum)
  FROM pg_attribute WHERE attrelid IN (TABLE ours) AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'table', oid::regclass::text, obj_description(oid, 'pg_class')
  FROM pg_class WHERE oid IN (TABLE ours)
UNION ALL SELECT 'default', pg_get_expr(adbin, adrelid), adrelid::regclass::text
  FROM pg_attrdef WHERE adrelid IN (TABLE ours)
UNION ALL SELECT 'constraint', conname || pg_get_constraintdef(oid), conrelid::regclass::text
  FROM pg_constraint WHERE conrelid IN (TABLE ours)
UNION ALL SELECT 'index', pg_get_indexdef(indexrelid), NULL
  FROM pg_index WHERE indrelid IN (TABLE ours)
UNION ALL SELECT 'trigger', pg_get_triggerdef(oid), NULL
  FROM pg_trigger WHERE tgrelid IN (TABLE ours) AND NOT tgisinternal
UNION ALL SELECT 'domain', typname::text || coalesce(pg_get_constraintdef(c.oid), ''),
       obj_description(t.oid, 'pg_type')
  FROM pg_type AS t LEFT JOIN pg_constraint AS c ON contypid = t.oid
 WHERE typnamespace IN (TABLE places) AND typtype = 'd'
UNION ALL SELECT 'schema', nspname::text, obj_description(oid, 'pg_namespace')
  FROM pg_namespace WHERE nspname = 'internal'
UNION ALL SELECT 'function', pg_get_functiondef(oid), obj_description(oid, 'pg_proc')
  FROM pg_proc WHERE pronamespace IN (TABLE places)
   AND oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')
UNION ALL SELECT 'hypertable', column_name || time_interval::text, hypertable_name
  FROM timescaledb_information.dimensions
"""


def read_schema(source: Settings | psycopg.Connection) -> set[tuple[str, ...]]:
    """The schema of a database, by its settings or through an open connection."""
    if isinstance(source, Settings):
        with psycopg.connect(source.database_dsn) as conn:
            return read_schema(conn)
    return set(source.execute(_SCHEMA).fetchall())
