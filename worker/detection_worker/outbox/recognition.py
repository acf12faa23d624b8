"""Telling an outbox from a queue of something else, whose messages must stay where they are."""

from collections.abc import Sequence

from detection_worker.outbox.entry import DamagedEntry, ForeignMessage, NewerEntry, decode
from detection_worker.sources.base import QueueError, ReceivedMessage


class NotAnOutbox(QueueError):  # noqa: N818 - reads as what it says
    """A queue holds messages, and none of them is an entry."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"This queue is no outbox: {url}\n"
            "Its messages are of another kind, and are left alone: name the queue of --outbox.",
            code="NotAnOutbox",
            fatal=True,
        )


class Recognition:
    """What has been seen of one queue.

    Args:
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._recognised = False

    def check(self, received: Sequence[ReceivedMessage]) -> None:
        """Look at the answer of a poll.

        Raises:
            NotAnOutbox: It has no entry, and no earlier one had any.
        """
        if self._recognised or not received:
            return
        if all(_is_foreign(message.body) for message in received):
            raise NotAnOutbox(self._url)
        self._recognised = True


def _is_foreign(body: str) -> bool:
    try:
        decode(body)
    except ForeignMessage:
        return True
    except (DamagedEntry, NewerEntry):
        return False
    return False
