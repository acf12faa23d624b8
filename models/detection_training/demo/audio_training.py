"""The audio detector: batches of windows, training and scores by family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection_training.audio.making.speech import Clip
from detection_training.pipeline.fitting import fit
from detection_training.pipeline.pooling import pooled
from detection_training.pipeline.sources import Log
from detection_worker.core.sampling import AudioSampling
from detection_worker.core.verdict import Pooling
from detection_worker.detectors.base import Detector
from detection_worker.media.streams.windows import Windows

Floats = NDArray[np.float64]
SAMPLING: Final = AudioSampling()
BATCH: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPlan:
    """How much to do.

    Attributes:
        per_voice: Utterances of each training voice.
        held_out_per_voice: Utterances of each voice that is measured.
        steps: Batches for the detector.
        seconds: Most time for the detector's training.
    """

    per_voice: int
    held_out_per_voice: int
    steps: int
    seconds: float


class ClipBatches:
    """Draws batches with as many real as made windows, families and speakers weighing alike."""

    def __init__(self, clips: Sequence[Clip], *, rng: np.random.Generator) -> None:
        self._rng = rng
        groups: dict[bool, dict[tuple[str, str], list[Clip]]] = {False: {}, True: {}}
        for clip in clips:
            groups[clip.fake].setdefault((clip.family, clip.speaker), []).append(clip)
        self._groups = {fake: list(by.values()) for fake, by in groups.items()}

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return sound ``(BATCH, window)`` and labels, 1 for fake."""
        windows = [self._window(fake=bool(i % 2)) for i in range(BATCH)]
        return torch.from_numpy(np.stack(windows)), torch.tensor([0.0, 1.0]).repeat(BATCH // 2)

    def _window(self, *, fake: bool) -> NDArray[np.float32]:
        groups = self._groups[fake]
        group = groups[int(self._rng.integers(len(groups)))]
        sound = group[int(self._rng.integers(len(group)))].sound
        # As the worker: short sound is repeated; here from any place, so that no start is learnt.
        turned = np.roll(sound, -int(self._rng.integers(len(sound))))
        return np.resize(turned, SAMPLING.window) * np.float32(self._rng.uniform(0.3, 1.0))


def train(
    network: torch.nn.Module, clips: Sequence[Clip], plan: AudioPlan, *, seed: int, log: Log
) -> torch.nn.Module:
    """Return the network trained on the clips, which hold both classes."""
    torch.manual_seed(seed)
    batches = ClipBatches(clips, rng=np.random.default_rng(seed))
    return fit(
        network,
        batches,
        name="audio",
        steps=plan.steps,
        rate=3e-3,
        seconds=plan.seconds,
        log=log,
    )


def score_clips(detector: Detector, clips: Sequence[Clip], *, pooling: Pooling) -> Floats:
    """Return one pooled logit for each clip, by the very windows that the worker cuts."""
    logits = []
    for clip in clips:
        windows = Windows(SAMPLING)
        windows.push(clip.sound)
        units, _ = windows.finish()
        logits.append(pooled(detector.logits(units), list(range(len(units))), pooling))
    return np.array(logits)
