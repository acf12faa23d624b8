"""Everything known of a DetectionQueue in one reconcile, up to the Observation."""
