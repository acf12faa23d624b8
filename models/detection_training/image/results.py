"""Calibration and measurement of the image model: dev pictures for the one, test for the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from detection_contract.media_types import MediaKind, kind_of_name
from detection_training.evaluation.baseline import Baseline, baseline
from detection_training.evaluation.features import LUMA
from detection_training.image.making.passages import TESTED, Passage, draw_passage
from detection_training.image.making.photographs import Photo, Pixels
from detection_training.image.measure import (
    Contest,
    Instrument,
    Row,
    Scored,
    false_alarms,
    flat,
    photo_name,
    rows,
    score,
)
from detection_training.metrics import Floats
from detection_training.pipeline import calibration
from detection_training.pipeline.calibration import Fitted, calibrated
from detection_training.pipeline.pooling import pooled
from detection_training.pipeline.sources import Log
from detection_worker.media.decode import decode_file
from detection_worker.media.values import DecodeOrder
from detection_worker.settings import MediaLimits

CALIBRATED_ON: Final = ("none", "jpeg 95", "jpeg 85", "jpeg 75", "webp 80", "resized 0.75")
"""Passages of ``TESTED`` that the calibration sees, each with the same weight."""


def calibrate(instrument: Instrument, found: Sequence[Contest], *, seed: int, log: Log) -> Fitted:
    """Return the calibration and the thresholds that dev pictures give.

    Args:
        instrument: Before calibration.
        found: Contests with makers that were trained on.
        seed: Seed of the noise.
        log: Takes progress lines.
    """
    real: list[Floats] = []
    fake: list[Floats] = []
    for name in CALIBRATED_ON:
        passage = TESTED[name]
        real.append(instrument.logits(found[0].real, passage, seed=seed))
        fake += [instrument.logits(c.fake, passage, seed=seed) for c in found]
        log(f"  dev pictures scored after: {name}")
    of_real, of_fake = np.concatenate(real), np.concatenate(fake)
    return calibration.fit(of_real, of_fake)


def evaluate(
    instrument: Instrument, found: Sequence[Contest], *, seed: int, log: Log
) -> dict[str, Any]:
    """Return rows by maker and passage, and false alarms by passage and by source.

    Args:
        instrument: Calibrated.
        found: Contests on test pictures.
        seed: Seed of the noise.
        log: Takes progress lines.
    """
    table: dict[str, Row] = {}
    scored: dict[str, Scored] = {}
    for name, passage in TESTED.items():
        scored[name] = score(instrument, found, passage, seed=seed)
        table |= rows(found, scored[name], treated=name)
        log(f"  test pictures scored after: {name}")
    return {"rows": table, "false_alarms": _alarms(found, scored)}


def _alarms(found: Sequence[Contest], scored: Mapping[str, Scored]) -> dict[str, Row]:
    photos = next(c.real_photo for c in found if c.size == "whole")
    alarms = {name: of.real["whole"] >= calibration.MIDDLE for name, of in scored.items()}
    names = [name for name in scored for _ in photos]
    sources = [photo.partition("/")[0] for photo in photos] * len(scored)
    every = np.concatenate(list(alarms.values()))
    repeated = list(photos) * len(scored)
    return {
        **{f"after {n}": r for n, r in false_alarms(names, every, repeated).items()},
        **{f"from {n}": r for n, r in false_alarms(sources, every, repeated).items()},
    }


def whole_files(instrument: Instrument, photos: Sequence[tuple[Photo, Path]]) -> dict[str, Any]:
    """Return P(fake) of photographs as they lie in their packages, decoded by the worker.

    Args:
        instrument: Calibrated.
        photos: Photographs of the test split.
    """
    scores = [float(file_score(instrument, path)) for _, path in photos]
    names = [photo_name(photo) for photo, _ in photos]
    alarms = np.array(scores) >= calibration.MIDDLE
    together = false_alarms(["whole files"] * len(names), alarms, names)
    return {
        "share": together["whole files"],
        "scores": {name: round(s, 4) for name, s in zip(names, scores, strict=True)},
    }


def file_score(instrument: Instrument, path: Path) -> float:
    """Return P(fake) of an image file, decoded and cut by the worker.

    Raises:
        JobError: It cannot be decoded.
    """
    order = DecodeOrder(
        suffix=path.suffix.lower(),
        announced=kind_of_name(path.name) or MediaKind.IMAGE,
        image=instrument.sampling,
        video=None,
        audio=None,
        limits=MediaLimits(),
    )
    with path.open("rb") as file:
        media = decode_file(file, order, tick=lambda: None)
    logit = pooled(
        instrument.detector.logits(media.units), media.frame.tolist(), instrument.pooling
    )
    return float(calibrated(np.array(logit), instrument.calibration))


def trivial(found: Sequence[Contest], *, seed: int) -> dict[str, Any]:
    """Return what can be told from size, codec, quality and brightness, which must be nothing.

    Beside it, for comparison, what the bytes of the compressed file tell: a reconstruction is
    smoother than its original, so that is no leak but part of what the network sees.

    Args:
        found: Contests of pictures that were trained on, each with a remake for every real one.
        seed: Seed of passages and folds.
    """
    rng = np.random.default_rng(seed)
    features: list[dict[str, float]] = []
    codecs: list[str] = []
    flags: list[bool] = []
    groups: list[str] = []
    sizes: list[dict[str, float]] = []
    for contest in found:
        for real, fake, photo in zip(contest.real, contest.fake, contest.real_photo, strict=True):
            passage = draw_passage(rng, compress=False)
            noise = int(rng.integers(1 << 31))
            for pixels, is_fake in ((real, False), (fake, True)):
                treated = passage.apply(pixels, seed=noise)
                features.append(_features(treated, passage))
                sizes.append({"bytes_per_px": _bytes_per_px(treated)})
                codecs.append(passage.codec)
                flags.append(is_fake)
                groups.append(photo)
    truth = np.array(flags)
    leaks = baseline(features, codecs, truth, groups, seed=seed)
    weight = baseline(sizes, ["any"] * len(sizes), truth, groups, seed=seed)
    return {"leaks": _told(leaks), "compressed_size": _told(weight)}


def _told(found: Baseline) -> dict[str, Any]:
    return {"features": list(found.features), **flat("auc", found.auc)}


def _features(pixels: Pixels, passage: Passage) -> dict[str, float]:
    return {
        "width": float(pixels.shape[1]),
        "height": float(pixels.shape[0]),
        "luminance": float((pixels @ LUMA).mean()),
        "quality": float(passage.quality if passage.codec != "none" else 100),
    }


def _bytes_per_px(pixels: Pixels) -> float:
    """Return the size of the picture as a JPEG of quality 90."""
    _, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(pixels[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    return float(len(data) / (pixels.shape[0] * pixels.shape[1]))
