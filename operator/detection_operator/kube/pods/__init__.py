"""Worker pods: their state, events about them, the order in which Kubernetes removes them."""
