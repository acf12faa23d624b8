"""When a detector has nothing to say about a media object: no opinion, and no failure either."""

from typing import Literal, get_args

Inapplicable = Literal["no_face", "no_speech", "too_short"]
"""Why there is nothing to score: the detector looks at faces or at speech and found none, or what
is there is too short for it."""
INAPPLICABLE: tuple[Inapplicable, ...] = get_args(Inapplicable)


class NotApplicable(Exception):  # noqa: N818 - an outcome, as StopIteration; not an error
    """The detector does not apply to this media object; a job that meets it is finished.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Inapplicable) -> None:
        super().__init__(reason)
        self.reason: Inapplicable = reason
