"""Run by hand, once, to make files that the repository holds."""
