"""Calls to AWS for a tenth of botocore's CPU: plain requests and plain answers only."""
