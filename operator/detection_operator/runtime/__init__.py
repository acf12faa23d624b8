"""kopf as informer, probes, leader election: the running operator."""
