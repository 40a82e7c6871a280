-- A view and functions for analysts. They read rollups where these suffice, bound every scan in
-- time, and do not depend on the session's time zone. Each function is one plain SELECT, which the
-- planner inlines.
-- depends: 0005.maintenance
CREATE VIEW latest_prices AS
SELECT known.ticker, newest.price, newest.created_at, newest.observed_at, newest.source
  FROM tickers AS known
 CROSS JOIN LATERAL (
    SELECT until - INTERVAL '1 min' AS minute
      FROM internal.price_islands
     WHERE ticker = known.ticker
     ORDER BY since DESC
     LIMIT 1
  ) AS last
  JOIN prices AS newest
    ON newest.ticker = known.ticker
   AND newest.created_at = last.minute;

COMMENT ON VIEW latest_prices IS 'The newest price of each index that has one';
COMMENT ON COLUMN latest_prices.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN latest_prices.price IS 'In the index''s quote currency, exact';
COMMENT ON COLUMN latest_prices.created_at IS 'The UTC minute the price belongs to';
COMMENT ON COLUMN latest_prices.observed_at IS 'The exchange''s time of the value; null if unknown';
COMMENT ON COLUMN latest_prices.source IS
    'poll: polled in its minute; chart: an average from chart data; import: from a file';

CREATE FUNCTION price_at(ticker text, moment timestamptz) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT prices.price
      FROM prices
     WHERE prices.ticker = price_at.ticker
       AND prices.created_at = date_trunc('minute', price_at.moment, 'UTC')
$$;

COMMENT ON FUNCTION price_at(text, timestamptz) IS
    'The price of the minute that contains the moment; null if there is none';

-- PostgreSQL takes an offset for POSIX's, whose sign is inverted, and an abbreviation for a fixed
-- offset: 'CET' would have no summer time. Only offsets contain a digit, and these few names.
CREATE FUNCTION internal.check_zone(tz text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF tz ~ '\d' AND tz !~* '^(Etc/)?GMT[+-]?0$'
        AND tz !~* '^Etc/GMT([+]1[0-2]|-1[0-4]|[+-][1-9])$'
        AND tz !~* '^(EST5E|CST6C|MST7M|PST8P)DT$'
       OR upper(tz) NOT IN ('UTC', 'GMT') AND EXISTS (
           SELECT FROM pg_timezone_abbrevs WHERE abbrev = upper(tz))
    THEN
        RAISE EXCEPTION 'time zone "%" is an offset or an abbreviation', tz
        USING ERRCODE = 'invalid_parameter_value',
              HINT = 'Use an IANA name, such as ''Europe/Berlin'' or ''UTC''.';
    END IF;
    PERFORM now() AT TIME ZONE tz;
    RETURN true;
END
$$;

COMMENT ON FUNCTION internal.check_zone(text) IS
    'True. Raises an error for a zone that is not known, or not by an IANA name';

CREATE FUNCTION internal.check_window(
    width interval, since timestamptz, until timestamptz, tz text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF width IS NULL OR since IS NULL OR until IS NULL OR tz IS NULL THEN
        RAISE EXCEPTION '% must not be null', CASE
            WHEN width IS NULL THEN 'width'
            WHEN since IS NULL THEN 'since'
            WHEN until IS NULL THEN 'until'
            ELSE 'tz' END
        USING ERRCODE = 'null_value_not_allowed',
              HINT = 'A window without bounds is from ''-infinity'' to ''infinity''.';
    END IF;
    RETURN tz = 'UTC' OR internal.check_zone(tz);
END
$$;

COMMENT ON FUNCTION internal.check_window(interval, timestamptz, timestamptz, text) IS
    'True. Raises an error for a null and for an invalid zone, which would return no rows';

CREATE FUNCTION internal.zone_of(width interval, tz text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN width = date_trunc('day', width) THEN tz ELSE 'UTC' END
$$;

COMMENT ON FUNCTION internal.zone_of(interval, text) IS
    'The zone whose calendar buckets of this width follow: tz for whole days, weeks and months';

CREATE FUNCTION internal.first_instant(local timestamp, tz text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN ((local AT TIME ZONE tz) - INTERVAL '1 hour') AT TIME ZONE tz = local
           THEN (local AT TIME ZONE tz) - INTERVAL '1 hour'
           ELSE local AT TIME ZONE tz END
$$;

COMMENT ON FUNCTION internal.first_instant(timestamp, text) IS
    'The instant of a local time in a zone; the first one if the local time occurs twice';

CREATE FUNCTION internal.bucket_start(width interval, moment timestamptz, tz text)
RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT internal.first_instant(time_bucket(width, moment AT TIME ZONE tz), tz)
$$;

COMMENT ON FUNCTION internal.bucket_start(interval, timestamptz, text) IS
    'The start of the bucket that contains the moment, on the calendar of a zone';

CREATE FUNCTION internal.next_start(width interval, moment timestamptz, tz text)
RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT internal.first_instant(
        time_bucket(
            width,
            moment AT TIME ZONE internal.zone_of(width, tz) + width - INTERVAL '1 us'),
        internal.zone_of(width, tz))
$$;

COMMENT ON FUNCTION internal.next_start(interval, timestamptz, text) IS
    'As next_bucket(), for a zone that has been checked';

CREATE FUNCTION next_bucket(width interval, moment timestamptz, tz text DEFAULT 'UTC')
RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN tz = 'UTC' OR internal.check_zone(tz)
           THEN internal.next_start(width, moment, tz) END
$$;

COMMENT ON FUNCTION next_bucket(interval, timestamptz, text) IS
    'The start of the first bucket, width wide, that begins at the moment or after it, on the calendar of tz as in candles()';

CREATE FUNCTION internal.is_undivided(width interval, hour timestamptz, tz text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT extract(MINUTE FROM hour AT TIME ZONE tz) = 0
        OR internal.bucket_start(width, hour, tz)
           = internal.bucket_start(width, hour + INTERVAL '59 min', tz)
$$;

COMMENT ON FUNCTION internal.is_undivided(interval, timestamptz, text) IS
    'Whether one bucket contains the whole UTC hour; days begin at a full hour of their zone';

CREATE FUNCTION candles(
    ticker text, width interval, since timestamptz, until timestamptz, tz text DEFAULT 'UTC')
RETURNS TABLE (
    start timestamptz, open numeric, high numeric, low numeric, close numeric, samples bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    -- No rows, but an error for an invalid argument.
    SELECT NULL::timestamptz AS start, NULL::numeric AS open, NULL::numeric AS high,
           NULL::numeric AS low, NULL::numeric AS close, NULL::bigint AS samples
     WHERE NOT internal.check_window(candles.width, candles.since, candles.until, candles.tz)
     UNION ALL
    -- Whole days of UTC, from the days.
    SELECT time_bucket(candles.width, day.bucket),
           first(day.open, day.bucket), max(day.high), min(day.low),
           last(day.close, day.bucket), sum(day.samples)::bigint
      FROM candles_1d AS day
     WHERE candles.width = date_trunc('day', candles.width)
       AND candles.tz = 'UTC'
       AND day.ticker = candles.ticker
       AND day.bucket >= internal.next_start(candles.width, candles.since, 'UTC')
       AND day.bucket < internal.next_start(candles.width, candles.until, 'UTC')
     GROUP BY 1
     UNION ALL
    -- Whole days of another zone: from the hours, and of hours in which a bucket begins, from their
    -- minutes.
    SELECT internal.bucket_start(candles.width, part.moment, candles.tz),
           first(part.open, part.moment), max(part.high), min(part.low),
           last(part.close, part.moment), sum(part.samples)::bigint
      FROM (
        SELECT hour.bucket AS moment, hour.open, hour.high, hour.low, hour.close, hour.samples
          FROM candles_1h AS hour
         WHERE candles.width = date_trunc('day', candles.width)
           AND candles.tz <> 'UTC'
           AND hour.ticker = candles.ticker
           AND hour.bucket >= internal.next_start(candles.width, candles.since, candles.tz)
           AND hour.bucket < internal.next_start(candles.width, candles.until, candles.tz)
           AND internal.is_undivided(candles.width, hour.bucket, candles.tz)
         UNION ALL
        SELECT minute.created_at, minute.price, minute.price, minute.price, minute.price, 1
          FROM candles_1h AS hour
          JOIN prices AS minute
            ON minute.ticker = candles.ticker
           AND minute.created_at >= hour.bucket
           AND minute.created_at < hour.bucket + INTERVAL '1 hour'
         WHERE candles.width = date_trunc('day', candles.width)
           AND candles.tz <> 'UTC'
           AND hour.ticker = candles.ticker
           AND hour.bucket > internal.next_start(candles.width, candles.since, candles.tz)
               - INTERVAL '1 hour'
           AND hour.bucket < internal.next_start(candles.width, candles.until, candles.tz)
           AND minute.created_at >= internal.next_start(candles.width, candles.since, candles.tz)
           AND minute.created_at < internal.next_start(candles.width, candles.until, candles.tz)
           AND NOT internal.is_undivided(candles.width, hour.bucket, candles.tz)
      ) AS part
     GROUP BY 1
     UNION ALL
    -- Whole hours, from the hours.
    SELECT time_bucket(candles.width, hour.bucket),
           first(hour.open, hour.bucket), max(hour.high), min(hour.low),
           last(hour.close, hour.bucket), sum(hour.samples)::bigint
      FROM candles_1h AS hour
     WHERE candles.width <> date_trunc('day', candles.width)
       AND mod(extract(EPOCH FROM candles.width), 3600) = 0
       AND hour.ticker = candles.ticker
       AND hour.bucket >= internal.next_start(candles.width, candles.since, 'UTC')
       AND hour.bucket < internal.next_start(candles.width, candles.until, 'UTC')
     GROUP BY 1
     UNION ALL
    -- Everything else, from the minutes.
    SELECT time_bucket(candles.width, minute.created_at),
           first(minute.price, minute.created_at), max(minute.price), min(minute.price),
           last(minute.price, minute.created_at), count(minute.price)
      FROM prices AS minute
     WHERE candles.width <> date_trunc('day', candles.width)
       AND mod(extract(EPOCH FROM candles.width), 3600) <> 0
       AND minute.ticker = candles.ticker
       AND minute.created_at >= internal.next_start(candles.width, candles.since, 'UTC')
       AND minute.created_at < internal.next_start(candles.width, candles.until, 'UTC')
     GROUP BY 1
     ORDER BY 1
$$;

COMMENT ON FUNCTION candles(text, interval, timestamptz, timestamptz, text) IS
    'Candles of one index, each width wide, that begin in [since, until), ascending: open, high, low, close, and samples: the number of stored minutes. Buckets without a price are omitted. Days, weeks (from Monday), months and years follow the calendar of tz, shorter widths UTC; a month is ''1 month'', ''1m'' is a minute';

CREATE FUNCTION returns(
    ticker text, width interval, since timestamptz, until timestamptz, tz text DEFAULT 'UTC')
RETURNS TABLE (start timestamptz, close numeric, previous numeric, change numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT step.start, step.close, step.previous, step.close / step.previous - 1
      FROM (
        SELECT candle.start, candle.close,
               CASE WHEN CASE
                   -- One subtraction: the calendar takes twenty times as long.
                   WHEN internal.zone_of(returns.width, returns.tz) = 'UTC'
                       AND returns.width < INTERVAL '28 days'
                   THEN candle.start - lag(candle.start) OVER ascending = returns.width
                   ELSE candle.start = internal.next_start(
                       returns.width, lag(candle.start) OVER ascending + INTERVAL '1 us',
                       returns.tz)
                   END
               THEN lag(candle.close) OVER ascending
               END AS previous
          FROM candles(
              returns.ticker, returns.width,
              -- An hour earlier, because the day before may begin at another time of day.
              (returns.since AT TIME ZONE 'UTC' - returns.width - INTERVAL '1 hour')
                  AT TIME ZONE 'UTC',
              returns.until, returns.tz) AS candle
        WINDOW ascending AS (ORDER BY candle.start)
      ) AS step
     WHERE step.previous IS NOT NULL  -- for an equality the planner would estimate one or two rows
       -- For a null the planner would read nothing, and candles() not raise its error.
       AND step.start >= coalesce(returns.since, '-infinity')
     ORDER BY step.start
$$;

COMMENT ON FUNCTION returns(text, interval, timestamptz, timestamptz, text) IS
    'Returns of one index: the relative change from the close of the previous bucket to that of each bucket that begins in [since, until), ascending, on the calendar of tz as in candles(). change is a fraction: 0.01 is one per cent; ln(1 + change) is the log return. A bucket is omitted if the previous one has no price, because a change across a gap has another width';

-- The last island that begins at or before the first minute may reach into the range.
CREATE FUNCTION gaps(ticker text, since timestamptz, until timestamptz)
RETURNS TABLE (start timestamptz, stop timestamptz, minutes bigint, reason text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 AS $$
    SELECT lower(gap.minutes), upper(gap.minutes),
           extract(EPOCH FROM upper(gap.minutes) - lower(gap.minutes))::bigint / 60, gap.reason
      FROM (
        SELECT tracked.first_minute, greatest(tracked.first_minute, tracked.stop) AS stop
          FROM (
            SELECT greatest(known.since, date_trunc(
                       'minute', gaps.since + INTERVAL '59.999999 s', 'UTC')) AS first_minute,
                   least(date_trunc('minute', gaps.until + INTERVAL '59.999999 s', 'UTC'),
                       date_trunc('minute', now(), 'UTC')) AS stop
              FROM tickers AS known
             WHERE known.ticker = gaps.ticker
          ) AS tracked
      ) AS expected
     CROSS JOIN LATERAL (
        SELECT tstzmultirange(tstzrange(expected.first_minute, expected.stop))
               - coalesce(range_agg(tstzrange(island.since, island.until)), '{}') AS minutes
          FROM internal.price_islands AS island
         WHERE island.ticker = gaps.ticker
           AND island.since < expected.stop
           AND island.since >= coalesce(
               (SELECT max(earlier.since)
                  FROM internal.price_islands AS earlier
                 WHERE earlier.ticker = gaps.ticker AND earlier.since <= expected.first_minute),
               expected.first_minute)
      ) AS missing
     CROSS JOIN LATERAL (
        WITH recorded AS (
            SELECT island.reason, range_agg(tstzrange(island.since, island.until)) AS minutes
              FROM internal.miss_islands AS island
             WHERE island.ticker = gaps.ticker
               AND island.reason <> 'not_polled'
               AND island.since < expected.stop
               AND island.since >= coalesce(
                   (SELECT max(earlier.since)
                      FROM internal.miss_islands AS earlier
                     WHERE earlier.ticker = gaps.ticker
                       AND earlier.since <= expected.first_minute),
                   expected.first_minute)
             GROUP BY island.reason
        )
        SELECT recorded.reason, unnest(recorded.minutes * missing.minutes) AS minutes
          FROM recorded
         UNION ALL
        SELECT 'not_polled', unnest(missing.minutes - coalesce(
            (SELECT range_agg(recorded.minutes) FROM recorded), '{}'))
      ) AS gap
     WHERE internal.check_window('1 min', gaps.since, gaps.until, 'UTC')
     ORDER BY 1
$$;

COMMENT ON FUNCTION gaps(text, timestamptz, timestamptz) IS
    'The minutes in [since, until) without a price, from the first tracked minute to the last complete one: gaps [start, stop) of consecutive minutes with one reason, ascending. not_polled: no record exists';
