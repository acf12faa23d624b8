"""Contests between real pictures and fakes of one maker, scored as the worker would."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_training.evaluation.intervals import Measure, Sample, measures, share
from detection_training.image.data import PATCH_PX, SLOW
from detection_training.image.making import photographs
from detection_training.image.making.passages import Passage
from detection_training.image.making.photographs import Photo, Pixels
from detection_training.image.making.upscalers import Remake
from detection_training.metrics import Floats
from detection_training.pipeline.calibration import calibrated
from detection_training.pipeline.pooling import pooled
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import Detector
from detection_worker.media.crops import cut

PICTURE_PX: Final = 264
"""Side of the measured pictures: room for four crops, and divided by every maker's factor."""
FACE_PX: Final = 64
"""Side of the DCGAN's faces."""
DCGAN: Final = "dcgan-faces"
UNCALIBRATED: Final = Calibration()
METRICS: Final = ("auc", "eer", "balanced_accuracy", "false_alarm_rate", "detection_rate")


Row = dict[str, float]
"""Numbers of one line of a table, with ``…_low`` and ``…_high`` where there is an interval."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contest:
    """Real pictures and fakes of one maker.

    Attributes:
        maker: Name.
        seen: The detector was trained on it.
        size: Which real pictures these are, ``whole``, ``corner`` or ``face``.
        real: ``(n, side, side, 3)``.
        fake: Fakes, ``(m, side, side, 3)``.
        real_photo: Photograph of each real picture.
        fake_photo: Photograph that each fake remakes, or a name of its own.
    """

    maker: str
    seen: bool
    size: str
    real: Pixels
    fake: Pixels
    real_photo: tuple[str, ...]
    fake_photo: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What scores: a detector before calibration, and how its logits become one.

    Attributes:
        detector: Scores crops.
        sampling: Which crops.
        pooling: From crops to one logit.
        calibration: From that logit to P(fake).
    """

    detector: Detector
    sampling: ImageSampling
    pooling: Pooling
    calibration: Calibration = UNCALIBRATED

    def logits(self, pictures: Pixels, passage: Passage, *, seed: int) -> Floats:
        """Return one logit for each picture after a passage."""
        found = []
        for i, picture in enumerate(pictures):
            treated = passage.apply(picture, seed=seed + i)
            crops, _ = cut(
                treated, crop_px=self.sampling.crop_px, max_crops=self.sampling.max_crops
            )
            found.append(pooled(self.detector.logits(crops), [0] * len(crops), self.pooling))
        return np.array(found)

    def scores(self, pictures: Pixels, passage: Passage, *, seed: int) -> Floats:
        """Return P(fake) of each picture after a passage."""
        return calibrated(self.logits(pictures, passage, seed=seed), self.calibration)


def contests(
    photos: Sequence[tuple[Photo, Path]],
    makers: Mapping[str, Remake],
    *,
    seen: Collection[str],
    each: int,
    rng: np.random.Generator,
) -> list[Contest]:
    """Return a contest for each maker on pictures of these photographs.

    Args:
        photos: Photographs of one split.
        makers: Makers by name; slow ones remake a corner of one picture of each photograph.
        seen: Makers that the detector was trained on.
        each: Pictures of one photograph.
        rng: Makes all choices.
    """
    paths = [path for _, path in photos]
    drawn = photographs.draw(paths, each=each, side_px=PICTURE_PX, rng=rng, tries=2)
    names = tuple(photo_name(photos[i][0]) for i in drawn.photo)
    found = []
    for maker, remake in makers.items():
        slow = maker == SLOW
        real = np.ascontiguousarray(drawn.pixels[::each, :PATCH_PX, :PATCH_PX])
        real = real if slow else drawn.pixels
        of = names[::each] if slow else names
        contest = Contest(
            maker=maker,
            seen=maker in seen,
            size="corner" if slow else "whole",
            real=real,
            fake=remake(real),
            real_photo=of,
            fake_photo=of,
        )
        found.append(contest)
    return found


def faces(
    photos: Sequence[tuple[Photo, Path]], made: Pixels, *, each: int, rng: np.random.Generator
) -> Contest:
    """Return the contest of generated faces against real patches of their size.

    Args:
        photos: Photographs of one split.
        made: ``(n, FACE_PX, FACE_PX, 3)``.
        each: Real patches of one photograph.
        rng: Makes all choices.
    """
    paths = [path for _, path in photos]
    drawn = photographs.draw(paths, each=each, side_px=FACE_PX, rng=rng, tries=2)
    return Contest(
        maker=DCGAN,
        seen=False,
        size="face",
        real=drawn.pixels,
        fake=made,
        real_photo=tuple(photo_name(photos[i][0]) for i in drawn.photo),
        fake_photo=tuple(f"face {i}" for i in range(len(made))),
    )


def photo_name(photo: Photo) -> str:
    """Return the name of a photograph in reports: its package and file."""
    return f"{photo.source}/{photo.path}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Scores of contests after one passage.

    Attributes:
        real: P(fake) of the real pictures by ``Contest.size``.
        fake: P(fake) of the fakes by maker.
    """

    real: Mapping[str, Floats]
    fake: Mapping[str, Floats]


def score(
    instrument: Instrument, found: Sequence[Contest], passage: Passage, *, seed: int
) -> Scored:
    """Return the scores of all pictures after a passage; real ones are scored once."""
    real: dict[str, Floats] = {}
    for contest in found:
        if contest.size not in real:
            real[contest.size] = instrument.scores(contest.real, passage, seed=seed)
    fake = {c.maker: instrument.scores(c.fake, passage, seed=seed) for c in found}
    return Scored(real=real, fake=fake)


def sample_of(found: Sequence[Contest], scored: Scored) -> Sample:
    """Return the items of some contests together; real pictures that they share count once."""
    sizes = {c.size: c for c in found}
    parts = [(scored.real[size], False, c.real_photo) for size, c in sizes.items()]
    parts += [(scored.fake[c.maker], True, c.fake_photo) for c in found]
    flags = [np.full(len(scores), fake) for scores, fake, _ in parts]
    return Sample(
        scores=np.concatenate([scores for scores, _, _ in parts]),
        is_fake=np.concatenate(flags),
        groups=[name for _, _, names in parts for name in names],
    )


def rows(found: Sequence[Contest], scored: Scored, *, treated: str) -> Iterator[tuple[str, Row]]:
    """Yield a row for each maker, for all seen and for all unseen ones, after one passage."""
    for contest in found:
        known = "" if contest.seen else " (unseen)"
        yield f"{contest.maker}{known}, {treated}", row(sample_of([contest], scored))
    for seen, name in ((True, "all seen"), (False, "all unseen")):
        chosen = [c for c in found if c.seen is seen]
        if chosen:
            yield f"{name}, {treated}", row(sample_of(chosen, scored))


def row(sample: Sample) -> Row:
    """Return the metrics of a sample at 0.5 with their 95 % intervals over photographs."""
    found = measures(sample, only=METRICS)
    numbers: Row = {
        "n_real": int((~sample.is_fake).sum()),
        "n_fake": int(sample.is_fake.sum()),
    }
    for name, measure in found.items():
        numbers |= flat(name, measure)
    return numbers


def flat(name: str, measure: Measure) -> Row:
    """Return a measure as up to three numbers."""
    parts = {"": measure.value, "_low": measure.low, "_high": measure.high}
    return {f"{name}{end}": round(v, 4) for end, v in parts.items() if v is not None}


def false_alarms(
    names: Sequence[str], alarms: NDArray[np.bool_], photos: Sequence[str]
) -> dict[str, Row]:
    """Return the share of alarms by name, with its interval over photographs.

    Args:
        names: What each picture is counted under.
        alarms: One a picture.
        photos: Photograph of each picture.
    """
    found = {}
    for name in sorted(set(names)):
        chosen = np.array([n == name for n in names])
        groups = [p for p, keep in zip(photos, chosen, strict=True) if keep]
        counted = {"n_real": int(chosen.sum()), "photographs": len(set(groups))}
        found[name] = counted | flat("share", share(alarms[chosen], groups))
    return found
