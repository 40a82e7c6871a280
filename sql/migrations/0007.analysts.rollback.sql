DROP FUNCTION price_at(text, timestamptz, interval);

DROP FUNCTION create_analyst(text);

DROP FUNCTION internal.reset_limits(text);
