"""Which requests a client has so many of.

Those that read prices: never health or metrics, which operators need, nor pages and their files.
"""

COUNTED = ("/prices", "/tickers", "/udf/")  # how their paths begin
