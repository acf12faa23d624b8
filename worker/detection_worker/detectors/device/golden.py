"""Units made to compare two precisions with: noise, ramps and tones of every strength."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_worker.core.golden import ScoreChange, compare_scores
from detection_worker.core.sampling import AudioSampling, Sampling
from detection_worker.detectors.base import Precision, Units
from detection_worker.detectors.self_test import unit
from detection_worker.detectors.torch_detector import TorchDetector

SEEDS: Final = 8
"""Units of each strength; the known answers of manifests begin with the same seeds."""
STRENGTHS: Final = (1.0, 0.5, 0.1)
"""Contrast of pictures, loudness of sound."""


def golden_units(sampling: Sampling) -> Units:
    """Return pseudo-random units, the same on every machine: from noise to next to nothing."""
    noise = np.concatenate([unit(sampling, seed=seed) for seed in range(SEEDS)])
    scaled = [_scaled(noise, strength) for strength in STRENGTHS]
    if isinstance(sampling, AudioSampling):
        return np.concatenate([*scaled, _tones(sampling, noise)])
    return np.concatenate([*scaled, _smooth(noise)])


def compare_precision(detector: TorchDetector, precision: Precision) -> ScoreChange:
    """Return what another precision makes of the golden set; the detector keeps its own."""
    units, used, card = (
        golden_units(detector.card.sampling),
        detector.card.precision,
        detector.card,
    )
    exact = detector.logits(units)
    detector.use_precision(precision)
    try:
        other = detector.logits(units)
    finally:
        detector.use_precision(used)
    return compare_scores(
        exact.tolist(),
        other.tolist(),
        pooling=card.pooling,
        calibration=card.calibration,
        thresholds=card.thresholds,
    )


def _scaled(noise: Units, strength: float) -> Units:
    if noise.dtype == np.float32:
        return np.asarray(noise * np.float32(strength), dtype=np.float32)
    return (128 + (noise.astype(np.float32) - 128) * strength).astype(np.uint8)


def _smooth(pictures: Units) -> NDArray[np.uint8]:
    """Blur along rows and columns: what noise lacks of a photograph is its smoothness."""
    blurred = pictures.astype(np.float32)
    for axis in (-3, -2):
        blurred = np.mean([np.roll(blurred, shift, axis) for shift in range(-4, 5)], axis=0)
    return blurred.astype(np.uint8)


def _tones(sampling: AudioSampling, noise: Units) -> NDArray[np.float32]:
    at_s = np.arange(sampling.window) / sampling.sample_rate_hz
    hz = 110.0 * 2.0 ** np.arange(len(noise))
    tones = 0.3 * np.sin(2 * np.pi * hz[:, None] * at_s) * np.sin(2 * np.pi * 4 * at_s)
    return (tones + 0.02 * noise).astype(np.float32)
