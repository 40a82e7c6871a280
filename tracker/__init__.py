"""Deribit index prices, every minute, in TimescaleDB, served by REST."""

__version__ = "0.2.0"
