"""Pools: who of a WorkerPool's queues wants and has what, and how much there is to share."""
