"""Posting results to the callers' URLs."""
