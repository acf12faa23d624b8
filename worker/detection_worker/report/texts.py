"""Texts of strangers (names, metadata, errors) made harmless to read: one line, no hidden sign."""


def printable(text: str) -> str:
    """Return ``text`` on one line: control, format and surrogate characters as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def abridged(text: str, most: int) -> str:
    """Return ``text`` without its middle if it has more than ``most`` characters.

    Args:
        text: Any text.
        most: Characters that are kept, besides a note of how many are left out.
    """
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} … {len(text) - most} characters … {text[len(text) - (most - head) :]}"
