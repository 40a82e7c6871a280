-- Replaces the settings of an analyst's role, which it may change itself, by its limits.
SELECT internal.reset_limits(%(name)s)
