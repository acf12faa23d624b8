"""Scores of media objects that were analysed before, shared by all workers."""
