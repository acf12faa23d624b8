"""Workers that die at a chosen call of a port: for tests and benchmarks of what a crash costs."""
