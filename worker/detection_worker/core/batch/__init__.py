"""Decisions about many files at once: which are sent, under which ids, at what cost."""
