"""Networks that score windows of sound."""
