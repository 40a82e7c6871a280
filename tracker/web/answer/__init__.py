"""Values and errors as they cross the wire."""
