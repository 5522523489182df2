"""The YAML of lightning-langcore; this file makes the folder a package, so that the wheel carries it."""
