"""What every program does as a process: arguments, log output, signals, probes."""
