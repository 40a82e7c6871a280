DROP FUNCTION filled(text, timestamptz, timestamptz);
