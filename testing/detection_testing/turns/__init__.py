"""Threads that take turns, on a clock of their own: any interleaving can be had again."""
