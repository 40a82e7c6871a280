DROP TRIGGER candles_updated_to ON candles_1h;
DROP TRIGGER candles_updated_from ON candles_1h;
DROP TRIGGER candles_deleted ON candles_1h;
DROP TRIGGER candles_inserted ON candles_1h;
DROP TRIGGER candles_truncated ON candles_1h;
DROP FUNCTION candles_emptied();
DROP FUNCTION candles_changed();
DROP TABLE candles_1d;
