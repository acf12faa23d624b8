"""A strict local SQS, S3 and callback receiver, for tests, demos and benchmarks."""
