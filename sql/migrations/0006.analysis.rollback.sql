DROP FUNCTION gaps(text, timestamptz, timestamptz);

DROP FUNCTION returns(text, interval, timestamptz, timestamptz, text);

DROP FUNCTION candles(text, interval, timestamptz, timestamptz, text);

DROP FUNCTION internal.is_undivided(interval, timestamptz, text);

DROP FUNCTION next_bucket(interval, timestamptz, text);

DROP FUNCTION internal.next_start(interval, timestamptz, text);

DROP FUNCTION internal.bucket_start(interval, timestamptz, text);

DROP FUNCTION internal.first_instant(timestamp, text);

DROP FUNCTION internal.zone_of(interval, text);

DROP FUNCTION internal.check_window(interval, timestamptz, timestamptz, text);

DROP FUNCTION internal.check_zone(text);

DROP FUNCTION price_at(text, timestamptz);

DROP VIEW latest_prices;
