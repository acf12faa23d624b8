"""What callers, worker and operator share: messages, results, error codes, user messages.

All but ``process.probes``, which serves Prometheus metrics, needs the standard library only, so
importing it is cheap everywhere.
"""
