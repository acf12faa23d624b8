"""Callbacks that failed for now, retried for days from an SQS queue."""
