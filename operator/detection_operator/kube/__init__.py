"""Kubernetes: the port that reconciling uses, its adapter, builders and readers of objects."""
