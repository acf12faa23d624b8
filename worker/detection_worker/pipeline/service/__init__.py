"""The consumer process: pipeline, signals, control server, health."""
