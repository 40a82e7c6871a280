"""Prices as CSV (import, export), and the whole database in a file (backup, restore)."""
