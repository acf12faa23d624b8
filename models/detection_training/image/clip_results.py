"""Calibration and measurement of the video model on clips."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection_training.evaluation.intervals import Sample
from detection_training.image import clips
from detection_training.image.clips import Clip
from detection_training.image.measure import Row, false_alarms, row
from detection_training.metrics import Floats
from detection_training.pipeline import calibration as calibrations
from detection_training.pipeline.calibration import Fitted, calibrated
from detection_training.pipeline.sources import Log
from detection_training.pipeline.splits import Split
from detection_worker.core.sampling import VideoSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import Detector

FILMED_WEIGHT = 4
"""Times that a filmed clip counts in the calibration: there are few, and they are what users
send; moves over photographs are many and easy."""


def logits(
    detector: Detector, found: Sequence[Clip], *, sampling: VideoSampling, pooling: Pooling
) -> Floats:
    """Return one logit for each clip."""
    scored = [
        clips.clip_logit(detector, clip.data, sampling=sampling, pooling=pooling) for clip in found
    ]
    return np.array(scored)


def filmed(
    detector: Detector,
    folders: Mapping[str, Path],
    split: Split,
    *,
    sampling: VideoSampling,
    pooling: Pooling,
) -> dict[str, float]:
    """Return the logit of each filmed clip of a split, by name."""
    return {
        name: clips.file_logit(detector, path, sampling=sampling, pooling=pooling)
        for name, path in clips.real_files(folders, split)
    }


def calibrate(found: Sequence[Clip], scored: Floats, real_clips: Mapping[str, float]) -> Fitted:
    """Return the calibration and the thresholds that dev clips give.

    Args:
        found: Clips over photographs.
        scored: Their logits.
        real_clips: Logits of filmed clips.
    """
    is_fake = np.array([clip.maker is not None for clip in found])
    extra = np.repeat(np.array(list(real_clips.values())), FILMED_WEIGHT)
    real, fake = np.concatenate([scored[~is_fake], extra]), scored[is_fake]
    return calibrations.fit(real, fake)


def evaluate(
    found: Sequence[Clip],
    scored: Floats,
    real_clips: Mapping[str, float],
    calibration: Calibration,
    *,
    seen: Collection[str],
    log: Log,
) -> dict[str, Any]:
    """Return rows by maker and the false alarms.

    Args:
        found: Test clips over photographs.
        scored: Their logits.
        real_clips: Logits of filmed clips.
        calibration: Turns logits into P(fake).
        seen: Makers that the detector was trained on.
        log: Takes progress lines.
    """
    scores = calibrated(scored, calibration)
    makers = [clip.maker for clip in found]
    photos = [clip.photo for clip in found]
    table: dict[str, Row] = {}
    for maker in dict.fromkeys(m for m in makers if m is not None):
        known = "" if maker in seen else " (unseen)"
        table[f"{maker}{known}, H.264"] = row(_sample(found, scores, {maker}))
    for name, chosen in (("all seen", set(seen)), ("all unseen", set(makers) - set(seen))):
        if chosen & set(makers) - {None}:
            table[f"{name}, H.264"] = row(_sample(found, scores, chosen))
    real = np.array([maker is None for maker in makers])
    panned = [photo for photo, keep in zip(photos, real, strict=True) if keep]
    films = {n: float(calibrated(np.array(x), calibration)) for n, x in real_clips.items()}
    alarms = {
        **false_alarms(
            ["moves over photographs"] * len(panned),
            scores[real] >= calibrations.MIDDLE,
            panned,
        ),
        **false_alarms(
            ["filmed clips"] * len(films),
            np.array(list(films.values())) >= calibrations.MIDDLE,
            list(films),
        ),
    }
    log(f"  filmed clips: {films}")
    return {
        "rows": table,
        "false_alarms": alarms,
        "filmed": {name: round(s, 4) for name, s in films.items()},
    }


def _sample(found: Sequence[Clip], scores: Floats, makers: set[str | None] | set[str]) -> Sample:
    chosen = np.array([clip.maker is None or clip.maker in makers for clip in found])
    kept = [clip for clip, keep in zip(found, chosen, strict=True) if keep]
    return Sample(
        scores=scores[chosen],
        is_fake=np.array([clip.maker is not None for clip in kept]),
        groups=[clip.photo for clip in kept],
    )
