"""Deployments and PodDisruptionBudgets, from a spec. Pure."""
