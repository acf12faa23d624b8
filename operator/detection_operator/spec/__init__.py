"""The spec of a DetectionQueue as values: the one place of its defaults and bounds."""
