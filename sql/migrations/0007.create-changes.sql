-- Which minutes each revision changed, so that whoever was away can be told what it missed: the
-- stream of prices resumes from here. Writers of one index stand in a line, so revisions are
-- committed in their order and none is left out. A log, not an archive: each index keeps its
-- newest 20,000 revisions, two weeks of polling; a statement that changes more than 1,000 minutes
-- leaves only their range.
-- depends: 0006.create-runs
CREATE TABLE changes (
    ticker       text   NOT NULL,
    revision     bigint NOT NULL,
    first_minute timestamptz,
    last_minute  timestamptz,
    minutes      timestamptz[],
    PRIMARY KEY (ticker, revision),
    CHECK (minutes IS NULL OR cardinality(minutes) BETWEEN 1 AND 1000)
);

COMMENT ON TABLE changes IS 'The newest revisions of each index, and what each of them changed';
COMMENT ON COLUMN changes.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN changes.revision IS 'The revision in tickers that the change made';
COMMENT ON COLUMN changes.first_minute IS 'The first UTC minute that changed; null: from the first on';
COMMENT ON COLUMN changes.last_minute IS 'The last UTC minute that changed; null: to the last one';
COMMENT ON COLUMN changes.minutes IS
    'The minutes stored, changed or deleted, in order; null if they are more than 1,000';

-- Fired after its namesake on the same table, which has made the revision.
CREATE FUNCTION price_changes_logged() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made record;
BEGIN
    FOR made IN
        WITH span AS (
            SELECT ticker, min(created_at) AS first_minute, max(created_at) AS last_minute,
                   count(*) AS rows
              FROM changed
             GROUP BY ticker
        )
        INSERT INTO changes (ticker, revision, first_minute, last_minute, minutes)
        SELECT span.ticker, known.revision, span.first_minute, span.last_minute,
               CASE WHEN span.rows <= 1000 THEN ARRAY(
                   SELECT created_at
                     FROM changed
                    WHERE changed.ticker = span.ticker
                    ORDER BY created_at)
               END
          FROM span
          JOIN tickers AS known ON known.ticker = span.ticker
        RETURNING ticker, revision
    LOOP
        DELETE FROM changes
         WHERE ticker = made.ticker AND revision = made.revision - 20000;
    END LOOP;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION price_changes_logged() IS
    'Logs which minutes a revision changed, and forgets the one 20,000 before it';

CREATE FUNCTION price_changes_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (ticker, revision) SELECT ticker, revision FROM tickers;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION price_changes_emptied() IS 'Logs for each index that all of it changed';

CREATE FUNCTION tickers_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM changes
     WHERE NOT EXISTS (SELECT FROM tickers WHERE tickers.ticker = changes.ticker);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION tickers_forgotten() IS
    'Forgets the log with its index: if that comes back, its revisions begin anew';

CREATE TRIGGER prices_truncated_log AFTER TRUNCATE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION price_changes_emptied();
CREATE TRIGGER prices_inserted_log AFTER INSERT ON prices
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_changes_logged();
CREATE TRIGGER prices_deleted_log AFTER DELETE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_changes_logged();
CREATE TRIGGER prices_updated_from_log AFTER UPDATE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_changes_logged();
CREATE TRIGGER prices_updated_to_log AFTER UPDATE ON prices
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_changes_logged();

CREATE TRIGGER tickers_forgotten AFTER DELETE OR TRUNCATE ON tickers
    FOR EACH STATEMENT EXECUTE FUNCTION tickers_forgotten();
