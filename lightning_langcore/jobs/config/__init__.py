"""Reading the configuration and checking it before any work."""
