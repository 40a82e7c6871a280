"""The whole database in one file, and back: as a dump, or as CSV for any version and edition."""
