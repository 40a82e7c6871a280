-- A temporary table for the lines of one import. The column line is the number in the file.
CREATE TEMPORARY TABLE incoming (
    line        bigint      NOT NULL,
    ticker      text        NOT NULL,
    created_at  timestamptz NOT NULL,
    price       numeric     NOT NULL,
    observed_at timestamptz,
    source      text
) ON COMMIT DROP
