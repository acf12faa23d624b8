"""Traces of worker and operator. ``sdk`` alone imports OpenTelemetry, when it is asked for."""
