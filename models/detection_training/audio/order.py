"""The order that every task of the build gets, and how clips of both classes are finished."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_training.audio.dataset import REAL, ClipRow, digest_of, quantised
from detection_training.audio.making.channels import CHANNELS, STORAGES, draw_channel, with_floor
from detection_training.audio.plan import AudioPlan
from detection_training.audio.sound import Samples, levelled
from detection_training.pipeline.splits import Split

LOUDNESS_DBFS: Final = (-36.0, -24.0)
"""Level of a clip's RMS; vocoders are peakier than throats, so equal peaks would tell classes."""
ENGINES: Final = ("espeak", "flite", "hibari", "piper")
"""Families that speak text; the others copy real speech."""
UNSEEN: Final = ("hifi-gan", "piper", "pitch-shift")
"""Families that only the test split has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What every task knows.

    Attributes:
        folders: Unpacked packages by name.
        shards: Where tasks leave their parts.
        plan: How much.
        seed: Seed of every choice; each task adds its own name.
    """

    folders: Mapping[str, Path]
    shards: Path
    plan: AudioPlan
    seed: int

    def rng(self, task: str) -> np.random.Generator:
        """Return a generator that belongs to one task, in whichever process and order it runs."""
        return np.random.default_rng([self.seed, zlib.crc32(task.encode())])


def finished(
    sound: Samples, base: ClipRow, *, family: str, rng: np.random.Generator
) -> tuple[ClipRow, NDArray[np.int16]]:
    """Return the clip after storage, noise floor and channel, with its row.

    Args:
        sound: Real or made; real sound was stored before.
        base: Row of the sound that it is or was made from.
        family: ``real``, or how it was made.
        rng: Chooses loudness, floor and channel.
    """
    sound = levelled(sound, peak=float(rng.uniform(0.2, 0.95)))
    if family != REAL:
        sound = STORAGES[base.storage](sound, rng)
    channel = draw_channel(rng)
    sound = CHANNELS[channel](with_floor(sound, rng), rng)
    stored = quantised(as_loud(sound, dbfs=float(rng.uniform(*LOUDNESS_DBFS))))
    row = clip_row(
        stored,
        base.split,
        family=family,
        speaker=base.speaker,
        language=base.language,
        source=base.source,
        storage=base.storage,
        channel=channel,
    )
    return row, stored


def as_loud(sound: Samples, *, dbfs: float) -> Samples:
    """Return the sound with this RMS relative to full scale."""
    rms = max(float(np.sqrt(np.square(sound.astype(np.float64)).mean())), 1e-6)
    return np.asarray(np.clip(sound * (10 ** (dbfs / 20) / rms), -1, 1), np.float32)


def clip_row(
    stored: NDArray[np.int16],
    split: Split,
    *,
    family: str,
    speaker: str,
    language: str,
    source: str,
    storage: str,
    channel: str,
) -> ClipRow:
    """Return a row with the length and the digest of stored samples."""
    return ClipRow(
        split=split,
        family=family,
        speaker=speaker,
        language=language,
        source=source,
        storage=storage,
        channel=channel,
        samples=len(stored),
        sha256=digest_of(stored),
    )
