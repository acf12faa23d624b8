"""Decisions about callbacks that failed for now: when they are tried again, and by whom."""
