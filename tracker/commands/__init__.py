"""What `tracker` can be told, a module for each group; a command imports only what it runs."""
