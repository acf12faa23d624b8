"""When a detector has nothing to say about a media object: no opinion, and no failure either."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Inapplicable = Literal["no_face", "no_speech", "too_short", "too_small"]
"""Why there is nothing to score: the detector looks at faces or at speech and found none, or what
is there is too short or too small for it."""
INAPPLICABLE: tuple[Inapplicable, ...] = get_args(Inapplicable)


class NotApplicable(Exception):  # noqa: N818 - an outcome, as StopIteration; not an error
    """The detector does not apply to this media object; a job that meets it is finished.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Inapplicable) -> None:
        super().__init__(reason)
        self.reason: Inapplicable = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a detector can judge; the default is: anything of its kind.

    Attributes:
        speech: Only sound that holds speech.
        min_duration_s: Only recordings at least this long; not for images.
        min_side_px: Only pictures and frames whose shorter side has at least so many pixels.
    """

    speech: bool = False
    min_duration_s: float = 0.0
    min_side_px: int = 0


ANYTHING: Final = Scope()
"""No limits but those of the kind of media."""


def misfit(
    scope: Scope, *, duration_s: float | None, size_px: tuple[int, int] | None
) -> Inapplicable | None:
    """Return why a media object's measures put it outside of a detector's scope, if they do.

    Args:
        scope: The detector's scope.
        duration_s: None for images.
        size_px: Width and height; None for sound.
    """
    if duration_s is not None and duration_s < scope.min_duration_s:
        return "too_short"
    if size_px is not None and min(size_px) < scope.min_side_px:
        return "too_small"
    return None
