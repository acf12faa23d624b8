"""Gather, decide, act; and the queue that says when."""
