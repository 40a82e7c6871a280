DROP TRIGGER prices_updated_to ON prices;
DROP TRIGGER prices_updated_from ON prices;
DROP TRIGGER prices_deleted ON prices;
DROP TRIGGER prices_inserted ON prices;
DROP TRIGGER prices_truncated ON prices;
DROP FUNCTION prices_emptied();
DROP FUNCTION prices_changed();
DROP TABLE candles_1h;
