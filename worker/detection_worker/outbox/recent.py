"""What was done with lately, and what is being done."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from detection_worker.sources.base import ReceivedMessage

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
    """Callbacks that are being tried, and the messages that hold them; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, dict[str, ReceivedMessage]] = {}

    def begin(self, webhook_id: str, message: ReceivedMessage) -> bool:
        """Note an attempt; False if one is being made already, for this message or another."""
        with self._lock:
            begins = webhook_id not in self._messages
            self._messages.setdefault(webhook_id, {})[message.message_id] = message
            return begins

    def claim(self, webhook_id: str) -> bool:
        """Note that an entry is sent on without an attempt; False if something is done already."""
        with self._lock:
            free = webhook_id not in self._messages
            if free:
                self._messages[webhook_id] = {}
            return free

    def others(self, webhook_id: str) -> Sequence[ReceivedMessage]:
        """Return the messages that came since the attempt began, without the one that is tried."""
        with self._lock:
            _, *others = self._messages[webhook_id].values()
            return others

    def end(self, webhook_id: str) -> Sequence[ReceivedMessage]:
        """Note that an entry is done with; return the messages that came, the tried one too."""
        with self._lock:
            return list(self._messages.pop(webhook_id).values())
