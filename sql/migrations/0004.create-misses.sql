-- Why a minute could not be polled. A plain table: it has few rows, and it is a record that
-- nothing removes, repaired or not.
-- depends: 0003.create-tickers
CREATE TABLE misses (
    ticker   text        NOT NULL CHECK (ticker ~ '^[a-z0-9-]+_[a-z0-9]+$'),
    minute   timestamptz NOT NULL CHECK (
        minute = date_trunc('minute', minute, 'UTC') AND isfinite(minute)),
    reason   text        NOT NULL CHECK (reason <> ''),
    code     integer,
    attempts integer     NOT NULL CHECK (attempts >= 0),
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ticker, minute)
);

COMMENT ON TABLE misses IS 'Minutes that could not be polled, and why';
COMMENT ON COLUMN misses.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN misses.minute IS 'The UTC minute that has no polled price';
COMMENT ON COLUMN misses.reason IS
    'exchange_unavailable, rate_limited, refused, bad_answer or too_late';
COMMENT ON COLUMN misses.code IS 'HTTP status or JSON-RPC error code of the last answer, if any';
COMMENT ON COLUMN misses.attempts IS 'How often the exchange was asked';
COMMENT ON COLUMN misses.at IS 'When the poll was given up';
