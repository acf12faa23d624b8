"""The operator's surroundings in tests: cluster, nodes, queue and workers under one clock."""
