"""Measuring detectors on labelled files: scores, intervals, baselines, gates, reports."""
