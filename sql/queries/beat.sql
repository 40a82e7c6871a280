-- Records when a part was alive; an older sign of life changes nothing.
INSERT INTO heartbeats AS known (part, at)
VALUES (%(part)s, %(at)s)
    ON CONFLICT (part) DO UPDATE
   SET at = greatest(known.at, excluded.at)
