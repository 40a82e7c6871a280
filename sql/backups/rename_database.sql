-- Gives a database another name; nobody may be connected to it.
ALTER DATABASE {database} RENAME TO {other}
