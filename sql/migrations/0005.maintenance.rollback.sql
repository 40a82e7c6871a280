DROP FUNCTION rebuild(text);

DROP FUNCTION internal.drop_prices(interval);
