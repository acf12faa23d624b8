"""What happens to pictures between their making and us, as values that are drawn and applied."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from detection_training.image.making import treatments
from detection_training.image.making.photographs import Pixels

Codec = Literal["none", "jpeg", "webp"]
SUFFIXES: Final[Mapping[str, str]] = {"jpeg": ".jpg", "webp": ".webp"}
QUALITIES: Final = (60, 100)
RESIZES: Final = (0.67, 0.95)
NOISES: Final = (0.5, 4.0)
"""Standard deviation in grey levels; like a small sensor's at moderate light."""
BLURS: Final = (0.3, 1.0)
"""Standard deviation in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One way that a picture went.

    Attributes:
        scale: Reduction, (0, 1].
        blur_px: Standard deviation of a Gaussian, 0 for none.
        noise: Standard deviation in grey levels, 0 for none.
        codec: Compression at the end.
        quality: Quality of the codec, 1 to 100.
    """

    scale: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    codec: Codec = "none"
    quality: int = 90

    def apply(self, pixels: Pixels, *, seed: int) -> Pixels:
        """Return the picture after it, as pixels again.

        Args:
            pixels: RGB, ``(h, w, 3)``.
            seed: Seed of the noise; the same for both of a pair.
        """
        if self.scale < 1:
            height, width = (max(8, round(s * self.scale)) for s in pixels.shape[:2])
            pixels = _uint8(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
        if self.blur_px:
            pixels = _uint8(cv2.GaussianBlur(pixels, (0, 0), self.blur_px))
        if self.noise:
            grain = np.random.default_rng(seed).normal(0, self.noise, pixels.shape)
            pixels = _uint8(np.clip(np.rint(pixels + grain), 0, 255))
        if self.codec == "none":
            return np.ascontiguousarray(pixels)
        return treatments.compressed(pixels, SUFFIXES[self.codec], quality=self.quality)


TESTED: Final[Mapping[str, Passage]] = {
    "none": Passage(),
    "jpeg 95": Passage(codec="jpeg", quality=95),
    "jpeg 85": Passage(codec="jpeg", quality=85),
    "jpeg 75": Passage(codec="jpeg", quality=75),
    "webp 80": Passage(codec="webp", quality=80),
    "resized 0.75": Passage(scale=0.75),
    "resized 0.5": Passage(scale=0.5),
}
"""The grid of the evaluation."""


def draw_passage(rng: np.random.Generator, *, compress: bool) -> Passage:
    """Return a random passage.

    Args:
        rng: Makes all choices.
        compress: It must end in a codec; otherwise half of them do.
    """
    codec: Codec = "none"
    if compress or rng.random() < 0.5:
        codec = "jpeg" if rng.random() < 0.7 else "webp"
    return Passage(
        scale=float(rng.uniform(*RESIZES)) if rng.random() < 0.2 else 1.0,
        blur_px=float(rng.uniform(*BLURS)) if rng.random() < 0.1 else 0.0,
        noise=float(rng.uniform(*NOISES)) if rng.random() < 0.2 else 0.0,
        codec=codec,
        quality=int(rng.integers(QUALITIES[0], QUALITIES[1] + 1)),
    )


def _uint8(pixels: object) -> Pixels:
    return np.asarray(pixels).astype(np.uint8, copy=False)
