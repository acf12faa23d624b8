"""Status, conditions, Kubernetes events and diagnostics of a DetectionQueue."""
