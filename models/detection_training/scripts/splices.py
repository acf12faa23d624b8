"""What a generated part of a long recording does to the score of the bundled audio model.

``python -m detection_training.scripts.splices`` downloads held-out speech, puts a copy of 3 s
into a minute of each voice and prints how often the recording is called fake with and without it:
by the mean of all windows, as the model pools, of every other one and so on, and by their maximum.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_training.audio import corpus, report, stages
from detection_training.audio.lengths import COPIED_BY, MODEL, PACKAGES
from detection_training.audio.making.copies import COPIES
from detection_training.audio.making.utterances import joined
from detection_training.audio.sound import RATE_HZ, Samples
from detection_training.pipeline import locked
from detection_training.pipeline.splits import Split
from detection_worker.core.sampling import AudioSampling
from detection_worker.detectors import registry
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder import listing

RECORDING_S: Final = 60
SPLICE_S: Final = 3
CLIP_S: Final = 4.0
FEWEST_CLIPS: Final = 8
"""Voices with fewer would say the same over and over."""
Floats = NDArray[np.float64]
POOLED: Final[Mapping[str, Callable[[Floats], float]]] = {
    "mean of all windows": lambda logits: float(logits.mean()),
    "mean of every 2nd": lambda logits: float(logits[::2].mean()),
    "mean of every 4th": lambda logits: float(logits[::4].mean()),
    "mean of every 8th": lambda logits: float(logits[::8].mean()),
    "highest quarter": lambda logits: float(np.sort(logits)[-round(len(logits) / 4) :].mean()),
    "highest window": lambda logits: float(logits.max()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A recording of one voice, and the same with a generated part; shape ``(samples,)`` each."""

    real: Samples
    spliced: Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class SpliceRow:
    """What one way to pool makes of the recordings.

    Attributes:
        pooled: Which.
        false_alarms: Share of recordings of real speech that are called fake.
        found: Share of those with a generated part that are called fake.
        spread: Standard deviation of the logits of real recordings.
    """

    pooled: str
    false_alarms: float
    found: float
    spread: float


def pairs_of(
    folders: Mapping[str, Path], *, seed: int, per_voice: int, recording_s: int = RECORDING_S
) -> list[Pair]:
    """Return recordings of every test voice that has enough clips.

    Args:
        folders: Unpacked packages of ``PACKAGES`` by name.
        seed: Seed of the choice of clips and of where they are spliced.
        per_voice: Recordings of a voice.
        recording_s: Length of a recording.
    """
    rng = np.random.default_rng(seed)
    found = []
    for voice in corpus.voices(folders):
        if voice.split is not Split.TEST:
            continue
        clips = [c for c, _ in joined(voice.files, count=60, rng=rng, length_s=(CLIP_S, CLIP_S))]
        if len(clips) >= FEWEST_CLIPS:
            found += [_pair(clips, rng, recording_s) for _ in range(per_voice)]
    return found


def _pair(clips: Sequence[Samples], rng: np.random.Generator, recording_s: int) -> Pair:
    count = round(recording_s / CLIP_S)
    chosen = rng.choice(len(clips), count, replace=len(clips) < count)
    real = np.resize(np.concatenate([clips[i] for i in chosen]), recording_s * RATE_HZ)
    length = SPLICE_S * RATE_HZ
    at = int(rng.integers(0, len(real) - length + 1))
    copy = COPIES[str(rng.choice(COPIED_BY))](real[at : at + length], rng)[:length]
    spliced = real.copy()
    spliced[at : at + len(copy)] = copy
    return Pair(real=real.astype(np.float32), spliced=spliced.astype(np.float32))


def window_logits(detector: Detector, sound: Samples) -> Floats:
    """Return the logit of every window of a sound, as a worker cuts them."""
    sampling = detector.card.sampling
    assert isinstance(sampling, AudioSampling)  # noqa: S101 - an audio model
    windows = np.lib.stride_tricks.sliding_window_view(sound, sampling.window)[:: sampling.hop]
    parts = [
        detector.logits(np.ascontiguousarray(windows[at : at + 16]))
        for at in range(0, len(windows), 16)
    ]
    return np.concatenate(parts).astype(np.float64)


def measure(detector: Detector, pairs: Sequence[Pair]) -> list[SpliceRow]:
    """Return a row for each way to pool."""
    real = [window_logits(detector, pair.real) for pair in pairs]
    spliced = [window_logits(detector, pair.spliced) for pair in pairs]
    return [
        SpliceRow(
            pooled=name,
            false_alarms=_called_fake(detector, [pool(x) for x in real]),
            found=_called_fake(detector, [pool(x) for x in spliced]),
            spread=float(np.std([pool(x) for x in real])),
        )
        for name, pool in POOLED.items()
    ]


def _called_fake(detector: Detector, logits: Sequence[float]) -> float:
    at = detector.card.calibration
    return float(np.mean(report.sigmoid(at.a * np.array(logits) + at.b) >= 0.5))


def table(rows: Sequence[SpliceRow]) -> str:
    """Return the rows as a table for the terminal."""
    lines = [f"{'pooled by':20}  {'false alarms':>12}  {'found':>6}  {'spread':>6}"]
    lines += [
        f"{row.pooled:20}  {row.false_alarms:12.3f}  {row.found:6.3f}  {row.spread:6.2f}"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, default=Path(".cache/training"))
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--per-voice", type=int, default=5)
    asked = parser.parse_args(arguments)
    wanted = [p for p in locked.read_lock(stages.LOCK) if p.name in PACKAGES]
    folders = locked.fetch_locked(wanted, asked.cache, log=print)
    loaded = registry.load_detectors(listing.bundled_models_dir(), threads=1, prefer=[MODEL])
    pairs = pairs_of(folders, seed=asked.seed, per_voice=asked.per_voice)
    rows = measure(loaded.by_kind[MediaKind.AUDIO], pairs)
    print(f"{len(pairs)} recordings of {RECORDING_S} s, {SPLICE_S} s of each replaced by a copy")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
