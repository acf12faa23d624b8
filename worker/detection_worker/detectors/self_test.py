"""Known answers that prove at load that weights, code and class order belong together."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection_worker.core.sampling import AudioSampling, Sampling, unit_shape
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder.manifest import ModelError, SelfTest

TOLERANCE = {"cpu": 1e-3, "cuda": 5e-2}
"""Largest difference of a logit. A GPU adds in another order and rounds products to TF32."""


def unit(sampling: Sampling, *, seed: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return one pseudo-random unit, shape ``(1, …)``, the same on every machine.

    PCG64's raw integers are stable across numpy versions; only they are used.
    """
    bits = np.random.PCG64(seed)
    if isinstance(sampling, AudioSampling):
        raw = bits.random_raw(sampling.window) >> np.uint64(40)
        return (raw.astype(np.float32) / np.float32(1 << 24) - np.float32(0.5))[None]
    side, shape = sampling.crop_px, unit_shape(sampling)
    raw = bits.random_raw(math.prod(shape)) >> np.uint64(58)
    ramp = np.arange(side, dtype=np.uint64)[:, None, None] * 128 // side
    return (raw.reshape(shape) + ramp).astype(np.uint8)[None]


def check(detector: Detector, answers: Sequence[SelfTest], *, device: str, where: str) -> None:
    """Compare the detector with its manifest's known answers.

    Raises:
        ModelError: If a logit differs by more than the device's tolerance.
    """
    tolerance = TOLERANCE["cuda" if device.startswith("cuda") else "cpu"]
    for answer in answers:
        got = float(detector.logits(unit(detector.card.sampling, seed=answer.seed))[0])
        if not abs(got - answer.logit) <= tolerance:
            raise ModelError(
                f"{where}: selftest: seed {answer.seed} gives {got:.4f} instead of "
                f"{answer.logit:.4f}; the weights do not belong to this code or manifest"
            )
