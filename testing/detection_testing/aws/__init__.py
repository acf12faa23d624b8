"""A local SQS, S3, STS and callback receiver; ``LocalAws`` starts them."""
