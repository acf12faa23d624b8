"""Making detectors: data, training, calibration, evaluation, packaging.

Imports the worker, never the reverse.
"""
