"""Calls to AWS for a tenth of the CPU: plain requests and plain answers only."""
