"""An in-memory cluster with the rules of an API server, and a real API server as a process."""
