"""Commands that talk to an SQS queue: ``consume`` and ``message``."""
