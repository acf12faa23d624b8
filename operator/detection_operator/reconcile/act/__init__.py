"""Writes to the cluster and requests to workers that bring a DetectionQueue nearer to its plan."""
