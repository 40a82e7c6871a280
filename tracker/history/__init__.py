"""One's own history as CSV: prices in from a file, prices out to one."""
