"""Handing messages back that nobody has looked into."""

import logging
import time
from collections.abc import Sequence

from detection_worker.sources.base import (
    MessageSource,
    QueueError,
    ReceivedMessage,
    VisibilityChange,
)

TRIES = 3
PAUSE_S = 0.2

log = logging.getLogger(__name__)


def give_back(source: MessageSource, received: Sequence[ReceivedMessage]) -> bool:
    """Make messages visible at once, so that none waits for its visibility timeout.

    Returns:
        False if some could not be released; SQS shows them again by itself.
    """
    changes = [
        VisibilityChange(message_id=r.message_id, receipt_handle=r.receipt_handle, seconds=0)
        for r in received
    ]
    for attempt in range(TRIES):
        if not changes:
            break
        try:
            failed = {f.message_id for f in source.change_visibility(changes) if not f.lost}
        except QueueError as exc:
            log.warning("could not release %d message(s): %s", len(changes), exc)
            time.sleep(PAUSE_S * 2**attempt)
            continue
        changes = [c for c in changes if c.message_id in failed]
    return not changes
