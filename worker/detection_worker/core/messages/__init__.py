"""Decisions about SQS messages: how many to hold, when to extend, what becomes of them."""
