"""Deribit index prices, every minute, in TimescaleDB, served by REST."""

from importlib.metadata import version

__version__ = version("deribit-price-tracker")
