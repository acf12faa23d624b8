"""Video and sound by PyAV: choose streams, plan what to decode, decode it. Runs in the child."""
