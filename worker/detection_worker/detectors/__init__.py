"""Detectors: units in, logits out; loaded from checked safetensors folders."""
