"""The words that callers, worker and operator share: messages, results, error codes, texts.

Standard library only, so that anything may import it cheaply.
"""
