"""From the database to values: connections, pages, and what is missing."""
