"""From the manifests of other autoscalers to DetectionQueues, pure."""
