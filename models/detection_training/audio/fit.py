"""Training the audio detector, and scoring clips by the worker's windows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from detection_training.audio.dataset import Clips, originals_of
from detection_training.audio.making.channels import Augmenter
from detection_training.audio.plan import AudioPlan
from detection_training.audio.sound import RATE_HZ, Samples
from detection_training.metrics import Floats
from detection_training.pipeline.fitting import Progress, fit
from detection_training.pipeline.pooling import pooled
from detection_training.pipeline.sources import Log
from detection_worker.core.sampling import AudioSampling
from detection_worker.core.verdict import Pooling
from detection_worker.detectors.base import Detector
from detection_worker.media.streams.windows import Windows

SAMPLING: Final = AudioSampling()
POOLING: Final = Pooling(over_frames="mean")
BATCH: Final = 24
CROP: Final = 5 * RATE_HZ // 2
"""Samples of a training window: shorter than the worker's, because more of them teach more."""
RATE: Final = 2.5e-3
SPEEDS: Final = (0.88, 1.14)
"""Two semitones down and up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Clips that are drawn with one chance: a family of one voice."""

    weight: float
    members: tuple[int, ...]


class BalancedBatches:
    """Draws as many real as made windows; families weigh alike, voices by the root of their clips.

    Half of a batch are pairs: a copy and what it was copied from, cut and treated alike, so that
    voice, words, place and channel tell nothing.

    Args:
        clips: Clips of the training split, both classes.
        rng: Makes every choice.
    """

    def __init__(self, clips: Clips, *, rng: np.random.Generator) -> None:
        self._clips = clips
        self._rng = rng
        self._augment = Augmenter(CROP, rng=rng)
        self._groups = {fake: _groups(clips, fake=fake) for fake in (False, True)}
        self._originals = originals_of(clips.rows)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return sound ``(BATCH, CROP)`` and labels, 1 for fake."""
        windows: list[Samples] = []
        for i in range(BATCH // 2):
            windows += self._pair() if i % 2 else self._strangers()
        return torch.from_numpy(np.stack(windows)), torch.tensor([0.0, 1.0]).repeat(BATCH // 2)

    def _strangers(self) -> list[Samples]:
        return [self._window(self._drawn(fake=fake)) for fake in (False, True)]

    def _pair(self) -> list[Samples]:
        """Return an original and its copy; what an engine spoke is no copy and gets a stranger."""
        copy = self._drawn(fake=True)
        if copy not in self._originals:
            return [self._window(self._drawn(fake=False)), self._window(copy)]
        state = self._rng.bit_generator.state
        original = self._window(self._originals[copy])
        self._rng.bit_generator.state = state
        return [original, self._window(copy)]

    def _drawn(self, *, fake: bool) -> int:
        groups = self._groups[fake]
        weights = np.array([group.weight for group in groups])
        group = groups[int(self._rng.choice(len(groups), p=weights / weights.sum()))]
        return group.members[int(self._rng.integers(len(group.members)))]

    def _window(self, clip: int) -> Samples:
        sound = self._clips.sound(clip)
        # Played faster or slower, a voice is nearly another one: there are few voices.
        taken = (
            round(CROP * float(self._rng.uniform(*SPEEDS))) if self._rng.random() < 0.5 else CROP
        )
        # From any place, so that no start is learnt; short clips are repeated, as by the worker.
        start = int(self._rng.integers(max(1, len(sound) - taken + 1)))
        window = np.resize(sound[start : start + taken], taken)
        if taken != CROP:
            at = np.linspace(0, taken - 1, CROP)
            window = np.interp(at, np.arange(taken), window).astype(np.float32)
        return self._augment(window) * np.float32(self._rng.uniform(0.3, 1.0))


def train(
    network: torch.nn.Module,
    clips: Clips,
    plan: AudioPlan,
    *,
    seed: int,
    progress: Path,
    log: Log,
) -> torch.nn.Module:
    """Return the network trained on the clips; resumes from ``progress`` if that file exists."""
    torch.manual_seed(seed)
    return fit(
        network,
        BalancedBatches(clips, rng=np.random.default_rng(seed)),
        name="audio",
        steps=plan.steps,
        rate=RATE,
        seconds=plan.seconds,
        log=log,
        progress=Progress(path=progress),
    )


def score(detector: Detector, sounds: list[Samples]) -> Floats:
    """Return one pooled logit for each sound, by the very windows that the worker cuts."""
    found = []
    for sound in sounds:
        windows = Windows(SAMPLING)
        windows.push(sound)
        units, _ = windows.finish()
        found.append(pooled(detector.logits(units), list(range(len(units))), POOLING))
    return np.array(found)


def score_clips(detector: Detector, clips: Clips) -> Floats:
    """Return one pooled logit for each clip."""
    return score(detector, [clips.sound(i) for i in range(len(clips))])


def _groups(clips: Clips, *, fake: bool) -> list[_Group]:
    members: dict[str, dict[str, list[int]]] = {}
    for i, row in enumerate(clips.rows):
        if row.fake is fake:
            members.setdefault(row.family, {}).setdefault(row.speaker, []).append(i)
    found = []
    for by_speaker in members.values():
        roots = {name: len(indices) ** 0.5 for name, indices in by_speaker.items()}
        total = sum(roots.values())
        found += [
            _Group(weight=roots[name] / total, members=tuple(indices))
            for name, indices in by_speaker.items()
        ]
    return found
