"""``submit``, ``results`` and ``dead-letters``: many messages, results and dead letters."""
