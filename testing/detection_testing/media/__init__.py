"""Media files and numbers made from code, the same on every machine."""
