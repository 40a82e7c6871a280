DROP FUNCTION stats(text, timestamptz, timestamptz);

DROP FUNCTION internal.range_parts(text, timestamptz, timestamptz);

DROP FUNCTION realised_volatility(text, timestamptz, timestamptz);

DROP FUNCTION twap(text, timestamptz, timestamptz);

DROP FUNCTION internal.island_statistics(text, timestamptz, timestamptz);

DROP FUNCTION log_returns(text, timestamptz, timestamptz);
