-- The extension stays: other schemas of the database may use it.
DO $$ BEGIN END $$;
