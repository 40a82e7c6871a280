-- What web cannot see by itself: which indexes the exchange has locked, and when the last backup was
-- completed. And the correction of what was recorded before a wrong clock could be noticed.
-- depends: 0007.analysts

ALTER TABLE internal.heartbeats
    DROP CONSTRAINT heartbeats_part_check,
    ADD CONSTRAINT heartbeats_part_check CHECK (
        part IN ('scheduler', 'worker', 'exchange', 'backup')),
    ADD COLUMN locked text[] NOT NULL DEFAULT '{}';

COMMENT ON TABLE internal.heartbeats IS
    'The newest heartbeat of each component of the recorder, and the last backup';
COMMENT ON COLUMN internal.heartbeats.part IS
    'scheduler, worker, exchange (its public/status responded) or backup (one was completed)';
COMMENT ON COLUMN internal.heartbeats.locked IS 'The indexes that the exchange reported as locked';

-- In a database without prices nothing contradicts a wrong clock until the exchange has responded. Of
-- the minutes in which it had not, those remain that lead to that moment without a pause of an hour.
CREATE FUNCTION internal.discard_misses(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    discarded bigint;
BEGIN
    PERFORM FROM tickers ORDER BY ticker FOR UPDATE;
    IF EXISTS (SELECT FROM tickers WHERE revision > 0) THEN
        RETURN 0;
    END IF;
    WITH run AS (
        SELECT ticker, max(minute) FILTER (WHERE pause > INTERVAL '1 hour') AS start
          FROM (
            SELECT ticker, minute,
                   minute - lag(minute) OVER (PARTITION BY ticker ORDER BY minute) AS pause
              FROM (
                SELECT ticker, minute FROM misses WHERE minute < moment
                 UNION ALL
                SELECT ticker, moment FROM tickers
              ) AS known
          ) AS step
         GROUP BY ticker
    )
    DELETE FROM misses
     USING run
     WHERE misses.ticker = run.ticker
       AND misses.reason IN ('exchange_unavailable', 'too_late')
       AND (misses.minute > moment + INTERVAL '1 hour' OR misses.minute < run.start);
    GET DIAGNOSTICS discarded = ROW_COUNT;
    IF discarded > 0 THEN
        DELETE FROM tickers AS known
         WHERE NOT EXISTS (SELECT FROM misses WHERE ticker = known.ticker);
        UPDATE tickers AS known
           SET since = (SELECT min(minute) FROM misses WHERE ticker = known.ticker);
    END IF;
    RETURN discarded;
END
$$;

COMMENT ON FUNCTION internal.discard_misses(timestamptz) IS
    'Deletes misses that a wrong clock recorded before the first price, as of a moment that the exchange confirmed';

REVOKE EXECUTE ON FUNCTION internal.discard_misses(timestamptz) FROM PUBLIC;
