"""What was done with lately, and what is being done."""

import threading
from collections import OrderedDict
from typing import Final

RECENT: Final = 10_000
"""Entries that are remembered, in case they are received again although they were deleted."""


class Recent:
    """The last so many texts; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, text: str) -> bool:
        with self._lock:
            return text in self._texts

    def add(self, text: str) -> None:
        """Remember a text; the oldest one is forgotten."""
        with self._lock:
            self._texts[text] = None
            if len(self._texts) > RECENT:
                self._texts.popitem(last=False)


class UnderWay:
    """Callbacks that are being tried; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, str] = {}

    def begin(self, webhook_id: str, message_id: str) -> str | None:
        """Note an attempt; if one is being made already, return the message that it is for."""
        with self._lock:
            other = self._messages.get(webhook_id)
            if other is None:
                self._messages[webhook_id] = message_id
            return other

    def end(self, webhook_id: str) -> None:
        """Note that the attempt has ended."""
        with self._lock:
            del self._messages[webhook_id]
