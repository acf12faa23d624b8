"""Where messages come from: SQS."""
