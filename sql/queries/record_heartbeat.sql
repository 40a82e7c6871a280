-- Records that a part was alive so many seconds ago, by the server's clock. An older heartbeat changes
-- nothing, unless the stored one lies in the future.
INSERT INTO internal.heartbeats AS known (part, at)
VALUES (%(part)s, clock_timestamp() - make_interval(secs => %(age)s))
    ON CONFLICT (part) DO UPDATE
   SET at = CASE WHEN known.at > clock_timestamp() THEN excluded.at
            ELSE greatest(known.at, excluded.at) END
