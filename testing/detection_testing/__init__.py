"""What tests, benchmarks and demos run in place of AWS and a cluster; in no image.

``aws`` has SQS, S3, STS and a callback receiver on loopback; ``kubernetes`` an API server in
memory, and the real one as a process; ``scenes`` both with workers and queues.
"""
