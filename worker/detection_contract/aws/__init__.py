"""What is known of AWS without calling it: S3 and SQS URLs, error codes; ``quick`` calls it."""
