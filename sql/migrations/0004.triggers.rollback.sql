DROP TRIGGER tickers_deleted ON tickers;

DROP FUNCTION internal.tickers_deleted();

DROP TRIGGER misses_truncated ON misses;

DROP TRIGGER misses_deleted ON misses;

DROP TRIGGER misses_updated ON misses;

DROP TRIGGER misses_inserted ON misses;

DROP FUNCTION internal.misses_changed();

DROP TRIGGER batches_committed ON internal.batches;

DROP FUNCTION internal.batch_committed();

DROP TRIGGER prices_truncated ON prices;

DROP TRIGGER prices_deleted ON prices;

DROP TRIGGER prices_updated ON prices;

DROP TRIGGER prices_inserted ON prices;

DROP FUNCTION internal.prices_changed();

DROP FUNCTION internal.revise_all(text[], timestamptz);

DROP TYPE internal.touched;
