"""Which messages to finish and which to hand back when the worker must stop."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One message in flight here.

    Attributes:
        message_id: SQS message id.
        started: Work on it has begun.
        remaining_s: Predicted seconds of the worker's time that it still costs.
    """

    message_id: str
    started: bool
    remaining_s: float


def to_release(held: Sequence[Held], *, time_left_s: float) -> list[str]:
    """Return the messages to hand back at once.

    Unstarted ones are always handed back: another worker has them in a second. Of the started
    ones, in order, those are finished that fit into the time left one after another.
    """
    released: list[str] = []
    ahead_s = 0.0
    for message in held:
        fits = ahead_s + message.remaining_s <= time_left_s
        if message.started and fits:
            ahead_s += message.remaining_s
        else:
            released.append(message.message_id)
    return released
