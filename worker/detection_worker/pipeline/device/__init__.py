"""One process owns the device; feeders send it units through shared memory and get scores back."""
