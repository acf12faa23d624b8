"""The decision: from a spec, an observation and a memory to a plan. No clock, no I/O, no logs."""
