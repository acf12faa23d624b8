"""``detection-operator demo``: the real operator and real workers on one machine.

The operator's code is that of ``run``; Kubernetes is a real API server where its binaries are
found, else a cluster in memory; SQS and S3 are the worker's local stand-ins; a node of this
machine runs each worker pod as a process. Operator and worker meet over HTTP only.
"""
