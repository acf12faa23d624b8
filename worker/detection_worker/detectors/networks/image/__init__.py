"""Networks that score or look through pictures."""
