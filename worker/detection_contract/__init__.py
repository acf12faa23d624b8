"""What callers, worker and operator share: messages, results, error codes, user messages.

All but ``process.probes``, which serves Prometheus metrics, and ``aws.quick``, which calls AWS
beside botocore, needs the standard library only, so importing it is cheap everywhere.
"""
