-- Renames a database, which must have no session.
ALTER DATABASE {database} RENAME TO {new_name}
