"""From the verdicts of a video's tracks to one, and how scores move over time. Pure arithmetic."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from detection_worker.core.verdict import Finding, Verdict

Track = Literal["video", "audio"]
"""The pictures and the sound of a video."""
_SEVERITY: Final[dict[Finding, int]] = {"real": 0, "inconclusive": 1, "fake": 2}


def fuse(pictures: Verdict | None, sound: Verdict) -> tuple[Verdict, Track] | None:
    """Return the verdict over both tracks, and the track that decides it.

    The experts are independent and look for different things, so nothing is averaged: the score
    is the higher of the two calibrated ones, for one forged track makes a video a forgery. It is
    fake if one of them holds its track to be fake, else inconclusive if one cannot tell.

    Args:
        pictures: None if nothing could be said of the pictures. Then the sound can still convict
            the video, but not acquit it.
        sound: With the same threshold.

    Returns:
        None if nothing can be said of the whole.
    """
    if pictures is None:
        return None if sound.finding == "real" else (sound, "audio")
    lead = max(pictures, sound, key=lambda v: v.score)
    heard = (_SEVERITY[sound.finding], sound.score) > (_SEVERITY[pictures.finding], pictures.score)
    decider = sound if heard else pictures
    fused = replace(
        lead,
        finding=decider.finding,
        between=decider.between,
        unit_scores=pictures.unit_scores,
        frame_scores=pictures.frame_scores,
    )
    return fused, "audio" if heard else "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the scores of a track move over time.

    Attributes:
        mean: Mean score of all frames or windows, 0 to 1.
        standard_deviation: Standard deviation of the population, 0 to 0.5.
        maximum_jump: Largest difference of neighbours that have a score, 0 to 1; 0 if there are
            none.
    """

    mean: float
    standard_deviation: float
    maximum_jump: float


def course(scores: Sequence[float]) -> Course:
    """Return the statistics of scores in time order.

    Raises:
        ValueError: There are none.
    """
    if not scores:
        raise ValueError("no scores")
    mean = math.fsum(scores) / len(scores)
    variance = math.fsum((x - mean) ** 2 for x in scores) / len(scores)
    jumps = (abs(b - a) for a, b in itertools.pairwise(scores))
    return Course(
        mean=mean, standard_deviation=math.sqrt(variance), maximum_jump=max(jumps, default=0.0)
    )
