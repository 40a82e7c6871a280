-- Creates the login of an analyst.
SELECT create_analyst(%(name)s)
