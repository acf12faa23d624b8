"""What callers, worker and operator share: messages, results, error codes, user messages.

It needs the standard library only, so importing it is cheap everywhere.
"""
