"""What can go wrong with a measurement."""


class BenchError(Exception):
    """A line cannot be measured here; the others can."""
