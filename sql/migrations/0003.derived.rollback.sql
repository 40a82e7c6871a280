DROP TABLE internal.heartbeats;

DROP TABLE internal.month_revisions;

DROP TABLE internal.changes;

DROP TABLE internal.batches;

DROP TABLE internal.miss_islands;

DROP TABLE internal.price_islands;

DROP TABLE candles_1d;

DROP TABLE candles_1h;
