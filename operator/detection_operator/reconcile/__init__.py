"""Observe, decide, act, report; and the work queue that says when."""
