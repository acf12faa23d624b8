"""Stand-ins for a cluster, a queue and workers, for tests, benchmarks and the demo."""
