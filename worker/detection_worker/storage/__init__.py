"""Fetching media objects from S3."""
