"""``detection-worker demo``: the real worker on a local SQS, S3 and callback receiver."""
