-- Derived data. Triggers update it in the transaction that changes prices or misses, and it is
-- exact at every moment.
-- depends: 0002.prices
CREATE TABLE candles_1h (
    ticker   index_name  NOT NULL,
    bucket   timestamptz NOT NULL CHECK (bucket = time_bucket(INTERVAL '1 hour', bucket)),
    open     numeric     NOT NULL,
    high     numeric     NOT NULL,
    low      numeric     NOT NULL,
    close    numeric     NOT NULL,
    samples  integer     NOT NULL CHECK (samples BETWEEN 1 AND 60),
    polled   integer     NOT NULL CHECK (polled >= 0),
    charted  integer     NOT NULL CHECK (charted >= 0),
    imported integer     NOT NULL CHECK (imported >= 0),
    PRIMARY KEY (ticker, bucket),
    CHECK (low <= least(open, close) AND high >= greatest(open, close)),
    CHECK (samples = polled + charted + imported)
) WITH (fillfactor = 50);

COMMENT ON TABLE candles_1h IS 'Open, high, low and close of each index and UTC hour that has prices';
COMMENT ON COLUMN candles_1h.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN candles_1h.bucket IS 'The start of the UTC hour';
COMMENT ON COLUMN candles_1h.open IS 'The price of the hour''s first stored minute';
COMMENT ON COLUMN candles_1h.high IS 'The highest price of the hour';
COMMENT ON COLUMN candles_1h.low IS 'The lowest price of the hour';
COMMENT ON COLUMN candles_1h.close IS 'The price of the hour''s last stored minute';
COMMENT ON COLUMN candles_1h.samples IS 'How many minutes of the hour are stored';
COMMENT ON COLUMN candles_1h.polled IS 'How many of them were polled';
COMMENT ON COLUMN candles_1h.charted IS 'How many of them come from chart data';
COMMENT ON COLUMN candles_1h.imported IS 'How many of them were imported from a file';

CREATE TABLE candles_1d (
    ticker   index_name  NOT NULL,
    bucket   timestamptz NOT NULL CHECK (bucket = time_bucket(INTERVAL '1 day', bucket)),
    open     numeric     NOT NULL,
    high     numeric     NOT NULL,
    low      numeric     NOT NULL,
    close    numeric     NOT NULL,
    samples  integer     NOT NULL CHECK (samples BETWEEN 1 AND 1440),
    polled   integer     NOT NULL CHECK (polled >= 0),
    charted  integer     NOT NULL CHECK (charted >= 0),
    imported integer     NOT NULL CHECK (imported >= 0),
    PRIMARY KEY (ticker, bucket),
    CHECK (low <= least(open, close) AND high >= greatest(open, close)),
    CHECK (samples = polled + charted + imported)
) WITH (fillfactor = 50);

COMMENT ON TABLE candles_1d IS 'Open, high, low and close of each index and UTC day that has prices';
COMMENT ON COLUMN candles_1d.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN candles_1d.bucket IS 'The midnight at which the UTC day begins';
COMMENT ON COLUMN candles_1d.open IS 'The price of the day''s first stored minute';
COMMENT ON COLUMN candles_1d.high IS 'The highest price of the day';
COMMENT ON COLUMN candles_1d.low IS 'The lowest price of the day';
COMMENT ON COLUMN candles_1d.close IS 'The price of the day''s last stored minute';
COMMENT ON COLUMN candles_1d.samples IS 'How many minutes of the day are stored';
COMMENT ON COLUMN candles_1d.polled IS 'How many of them were polled';
COMMENT ON COLUMN candles_1d.charted IS 'How many of them come from chart data';
COMMENT ON COLUMN candles_1d.imported IS 'How many of them were imported from a file';

-- Gaps and islands: consecutive minutes are one row, which makes the gaps of years cheap to read.
CREATE TABLE internal.price_islands (
    ticker index_name  NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    PRIMARY KEY (ticker, since) INCLUDE (until),
    CHECK (since < until)
);

COMMENT ON TABLE internal.price_islands IS 'Consecutive stored minutes, each island of maximal length';
COMMENT ON COLUMN internal.price_islands.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN internal.price_islands.since IS 'The first UTC minute of the island';
COMMENT ON COLUMN internal.price_islands.until IS 'The first UTC minute after it, which has no price';

CREATE TABLE internal.miss_islands (
    ticker index_name  NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    reason text        NOT NULL,
    PRIMARY KEY (ticker, since) INCLUDE (until, reason),
    CHECK (since < until)
);

COMMENT ON TABLE internal.miss_islands IS
    'Consecutive misses with one reason, each island of maximal length';
COMMENT ON COLUMN internal.miss_islands.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN internal.miss_islands.since IS 'The first UTC minute of the island';
COMMENT ON COLUMN internal.miss_islands.until IS 'The first UTC minute after it';
COMMENT ON COLUMN internal.miss_islands.reason IS 'The reason of every miss in the island';

-- A batch is the change of one statement. Its position is taken from a sequence at the end of the
-- transaction, under a lock that is held until the commit. Positions therefore ascend in the order
-- of commits, and a client that has received one has received every earlier one, of all indexes.
CREATE TABLE internal.batches (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position bigint UNIQUE,
    tickers  text[] NOT NULL
);

CREATE SEQUENCE internal.batch_position OWNED BY internal.batches.position;

COMMENT ON TABLE internal.batches IS 'The newest million statements that changed prices';
COMMENT ON COLUMN internal.batches.id IS 'In the order in which the statements began';
COMMENT ON COLUMN internal.batches.position IS
    'In the order of commits; null until the transaction commits';
COMMENT ON COLUMN internal.batches.tickers IS 'The indexes that the statement changed, by name';

-- The stream of prices resumes from this log. Writers of one index wait for the lock on its row in
-- tickers, therefore its revisions are committed in order and without gaps. The newest 20,000
-- revisions of each index are retained: two weeks of polling.
CREATE TABLE internal.changes (
    ticker       index_name NOT NULL,
    revision     bigint     NOT NULL,
    batch        bigint     NOT NULL,
    first_minute timestamptz,
    last_minute  timestamptz,
    minutes      timestamptz[],
    PRIMARY KEY (ticker, revision),
    CHECK (minutes IS NULL OR cardinality(minutes) BETWEEN 1 AND 1000)
);

COMMENT ON TABLE internal.changes IS 'The newest revisions of each index, and the minutes that each changed';
COMMENT ON COLUMN internal.changes.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN internal.changes.revision IS 'The revision in tickers that the change made';
COMMENT ON COLUMN internal.changes.batch IS 'The statement in batches';
COMMENT ON COLUMN internal.changes.first_minute IS
    'The first UTC minute that changed; null: unbounded';
COMMENT ON COLUMN internal.changes.last_minute IS 'The last UTC minute that changed; null: unbounded';
COMMENT ON COLUMN internal.changes.minutes IS
    'The minutes inserted, updated or deleted, ascending; null if more than 1,000';

-- An archive rewrites the file of a month only if the month's revision has changed.
CREATE TABLE internal.month_revisions (
    ticker   index_name  NOT NULL,
    month    timestamptz NOT NULL CHECK (month = time_bucket(INTERVAL '1 month', month)),
    revision bigint      NOT NULL,
    PRIMARY KEY (ticker, month)
) WITH (fillfactor = 50);

COMMENT ON TABLE internal.month_revisions IS 'When each month of each index last changed';
COMMENT ON COLUMN internal.month_revisions.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN internal.month_revisions.month IS 'The start of the UTC month';
COMMENT ON COLUMN internal.month_revisions.revision IS
    'The newest revision in tickers that changed prices of the month; retention does not count';

-- The API has no connection to the recorder and reads the health of its components here.
CREATE TABLE internal.heartbeats (
    part text        PRIMARY KEY CHECK (part IN ('scheduler', 'worker')),
    at   timestamptz NOT NULL
);

COMMENT ON TABLE internal.heartbeats IS 'The newest heartbeat of each component of the recorder';
COMMENT ON COLUMN internal.heartbeats.part IS 'scheduler or worker';
COMMENT ON COLUMN internal.heartbeats.at IS 'By the clock of the database''s server';
