"""The operator: DetectionQueue resources to scaled worker Deployments."""
