"""What a client asks for: query strings in, typed values out. Nothing else is touched."""
