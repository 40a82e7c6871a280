-- Stores the heartbeat of a component, age seconds old by the server's clock, and the indexes that
-- the exchange has locked or names. A heartbeat older than the stored one changes nothing, unless the stored
-- one is in the future.
INSERT INTO internal.heartbeats AS known (part, at, locked, names)
VALUES (%(part)s, clock_timestamp() - make_interval(secs => %(age)s), %(locked)s::text[],
        %(names)s::text[])
    ON CONFLICT (part) DO UPDATE
   SET at = CASE WHEN known.at > clock_timestamp() THEN excluded.at
            ELSE greatest(known.at, excluded.at) END,
       locked = excluded.locked,
       names = excluded.names
