"""The process that decodes: its pool, its sandbox, and the checked protocol between the two."""
