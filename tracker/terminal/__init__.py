"""Prices of the API for a person at a terminal, or for a program behind a pipe."""
