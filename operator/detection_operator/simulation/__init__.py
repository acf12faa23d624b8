"""The same decisions on a simulated queue, beside other policies; no cluster is touched."""
