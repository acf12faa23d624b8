"""Callbacks: results posted to the URLs that callers give."""
