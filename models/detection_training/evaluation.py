"""Measuring loaded detectors on folders of labelled files, by the worker's own decoding."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detection_contract.media_types import MediaKind, kind_of_name
from detection_training import metrics
from detection_training.sources import Log
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.core.verdict import judge
from detection_worker.detectors.registry import LoadedDetectors
from detection_worker.errors import JobError, UsageError
from detection_worker.media.decode import decode_file
from detection_worker.media.decode_order import DecodeOrder
from detection_worker.settings import MediaLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One file's score.

    Attributes:
        path: Of the file.
        kind: By content.
        score: P(fake).
    """

    path: Path
    kind: MediaKind
    score: float


def evaluate(
    loaded: LoadedDetectors, *, real: Path, fake: Path, log: Log
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return metrics by media kind, and the files that could not be scored.

    Kinds of which only one class has files are left out.

    Raises:
        UsageError: No kind has files of both classes.
    """
    problems: list[str] = []
    scored = {
        name: list(_score_all(loaded, folder, problems=problems, log=log))
        for name, folder in (("real", real), ("fake", fake))
    }
    rows: dict[str, dict[str, float]] = {}
    for kind in MediaKind:
        by_class = [np.array([s.score for s in scored[name] if s.kind is kind]) for name in scored]
        if all(len(scores) for scores in by_class):
            rows[str(kind)] = metrics.summary(*by_class)
    if not rows:
        raise UsageError(
            "No media kind has both real and fake files that could be scored!\n"
            f"Put files of the same kind into {real} and {fake}."
            + "".join(f"\n  {p}" for p in problems[:5])
        )
    return rows, problems


def score_file(loaded: LoadedDetectors, path: Path) -> Scored:
    """Return the score of one file.

    Raises:
        JobError: It cannot be decoded, or no model scores its kind.
    """
    order = _order(loaded, path)
    with path.open("rb") as file:
        media = decode_file(file, order, tick=lambda: None)
    detector = loaded.by_kind[media.info.kind]
    verdict = judge(
        detector.logits(media.units).tolist(),
        media.frame.tolist(),
        pooling=detector.card.pooling,
        calibration=detector.card.calibration,
        threshold=0.5,
    )
    return Scored(path=path, kind=media.info.kind, score=verdict.score)


def _score_all(
    loaded: LoadedDetectors, folder: Path, *, problems: list[str], log: Log
) -> Iterable[Scored]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and kind_of_name(p.name))
    if not files:
        raise UsageError(f"No media files in {folder}\nGive a folder of images, videos or sounds.")
    for i, path in enumerate(files, start=1):
        try:
            yield score_file(loaded, path)
        except JobError as exc:
            problems.append(f"{path.name}: {exc.message}")
        if i % 50 == 0 or i == len(files):
            log(f"  {folder}: {i}/{len(files)} files")


def _order(loaded: LoadedDetectors, path: Path) -> DecodeOrder:
    samplings: dict[MediaKind, Any] = {c.kind: c.sampling for c in loaded.cards}
    image: ImageSampling | None = samplings.get(MediaKind.IMAGE)
    video: VideoSampling | None = samplings.get(MediaKind.VIDEO)
    audio: AudioSampling | None = samplings.get(MediaKind.AUDIO)
    return DecodeOrder(
        suffix=path.suffix.lower(),
        announced=kind_of_name(path.name),
        image=image,
        video=video,
        audio=audio,
        limits=MediaLimits(),
    )
