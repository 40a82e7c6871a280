DROP FUNCTION gaps(text, timestamptz, timestamptz);
DROP FUNCTION returns(text, interval, timestamptz, timestamptz);
DROP FUNCTION candles(text, interval, timestamptz, timestamptz);
DROP FUNCTION next_bucket(interval, timestamptz);
DROP FUNCTION price_at(text, timestamptz);
DROP VIEW latest_prices;
