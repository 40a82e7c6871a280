-- Where the lines of a file wait until all of them are known to be good.
CREATE TEMPORARY TABLE incoming (
    line        bigint      NOT NULL,
    ticker      text        NOT NULL,
    created_at  timestamptz NOT NULL,
    price       numeric     NOT NULL,
    observed_at timestamptz,
    source      text
) ON COMMIT DROP
