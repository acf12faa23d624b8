"""``detection-worker demo``: the real worker on a local SQS, S3, SNS and callback receiver."""
