"""Sharing a pool between queues: what each wants, and what each is granted. Values only."""
