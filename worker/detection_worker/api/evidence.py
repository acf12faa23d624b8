"""The evidence for a score of a still image, drawn over the image."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, sigmoid
from detection_worker.detectors.base import Detector
from detection_worker.errors import UsageError
from detection_worker.media.crops import cut
from detection_worker.media.previews import PREVIEW_PX, jpeg
from detection_worker.report.values import Drawing

EvidenceKind = Literal["patches", "saliency"]
MAX_PATCHES: Final = 256
"""Covers 2048 x 2048 pixels in crops of 128; of larger pictures the parts with most detail."""
SHOWN_PX: Final = 1600
"""Longer side of the drawing, in pixels."""
TINT: Final = 0.6
"""Opacity of the strongest red, 0 to 1."""

LEGENDS: Final[Mapping[EvidenceKind, tuple[str, str]]] = {
    "patches": (
        "Every part of the picture by itself",
        "The number is the score of a part alone, 0 to 1; the redder, the higher. The verdict "
        "rests on the numbered squares above, not on all of these.",
    ),
    "saliency": (
        "The pixels that move the score most",
        "The redder, the more a small change there would change the score, relative to the rest "
        "of this picture. That is not where something was manipulated.",
    ),
}
"""Title and legend of each kind on a page."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patches:
    """A picture cut into crops, each with its own score.

    Attributes:
        crops: RGB, shape ``(n, crop, crop, 3)``.
        boxes: Left, top, right, bottom in the picture, shape ``(n, 4)``.
        scores: Calibrated P(fake) of each crop alone, in [0, 1], shape ``(n,)``.
    """

    crops: Pixels
    boxes: NDArray[np.int32]
    scores: NDArray[np.float32]


def draw(detector: Detector, pixels: Pixels, *, kind: EvidenceKind) -> bytes:
    """Return a PNG of the picture with the evidence for its score in red.

    Args:
        detector: An image detector with the view ``crops``.
        pixels: RGB, upright, shape ``(height, width, 3)``.
        kind: ``patches``: the score of every crop; ``saliency``: the pixels that move the score.

    Raises:
        UsageError: The detector does not use crops, or has no gradients (``saliency``).
    """
    file = io.BytesIO()
    drawing(detector, pixels, kind=kind, side_px=SHOWN_PX).save(file, format="PNG")
    return file.getvalue()


def drawing(
    detector: Detector, pixels: Pixels, *, kind: EvidenceKind, side_px: int
) -> Image.Image:
    """Return the picture with the evidence for its score in red.

    Args:
        detector: As for ``draw``.
        pixels: As for ``draw``.
        kind: As for ``draw``.
        side_px: Most pixels of its longer side.

    Raises:
        UsageError: As from ``draw``.
    """
    patches = score_patches(detector, pixels)
    if kind == "patches":
        tinted = _tinted(pixels, _patch_heat(patches, pixels.shape[:2]))
        return _reduced(tinted, patches, side_px=side_px)
    tinted = _tinted(pixels, _saliency_heat(detector, patches, pixels.shape[:2]))
    return _reduced(tinted, None, side_px=side_px)


def drawings_of(detector: Detector, pixels: Pixels) -> tuple[Drawing, ...]:
    """Return both kinds of evidence for the page of a picture.

    Args:
        detector: As for ``draw``.
        pixels: As for ``draw``.

    Raises:
        UsageError: The detector does not use crops.
    """
    found = []
    for kind, (title, legend) in LEGENDS.items():
        try:
            image = drawing(detector, pixels, kind=kind, side_px=PREVIEW_PX)
        except UsageError:
            if kind == "patches":
                raise
            continue  # it has no gradients
        found.append(Drawing(jpeg=jpeg(np.asarray(image)), title=title, legend=legend))
    return tuple(found)


def score_patches(detector: Detector, pixels: Pixels) -> Patches:
    """Return crops of the whole picture with their scores.

    Args:
        detector: An image detector with the view ``crops``.
        pixels: RGB, upright, shape ``(height, width, 3)``.

    Raises:
        UsageError: The detector does not use crops.
    """
    sampling = detector.card.sampling
    if not isinstance(sampling, ImageSampling) or sampling.view != "crops":
        raise UsageError(
            f"{detector.card.name} does not look at crops of images\n"
            "Evidence can be drawn only for models with the view 'crops'."
        )
    crops, boxes = cut(pixels, crop_px=sampling.crop_px, max_crops=MAX_PATCHES)
    calibration: Calibration = detector.card.calibration
    logits = detector.logits(crops).tolist()
    scores = [sigmoid(calibration.a * logit + calibration.b) for logit in logits]
    return Patches(crops=crops, boxes=boxes, scores=np.array(scores, dtype=np.float32))


def _patch_heat(patches: Patches, shape: tuple[int, ...]) -> NDArray[np.float32]:
    heat = np.zeros(shape, np.float32)
    for (left, top, right, bottom), score in zip(patches.boxes, patches.scores, strict=True):
        heat[top:bottom, left:right] = score
    return heat


def _saliency_heat(
    detector: Detector, patches: Patches, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    # Torch takes seconds to import, and most commands draw nothing.
    from detection_worker.detectors.saliency import saliency  # noqa: PLC0415 - heavy
    from detection_worker.detectors.torch_detector import TorchDetector  # noqa: PLC0415 - heavy

    if not isinstance(detector, TorchDetector):
        raise UsageError(f"{detector.card.name} has no gradients\nUse --evidence instead.")
    heat = np.zeros(shape, np.float32)
    strengths = saliency(detector, patches.crops)
    for (left, top, right, bottom), strength in zip(patches.boxes, strengths, strict=True):
        heat[top:bottom, left:right] = strength[: bottom - top, : right - left]
    # A few pixels are far stronger than the others, which would all be black.
    relative = heat / max(float(np.percentile(heat, 99)), 1e-12)
    return np.asarray(np.clip(relative, 0, 1), dtype=np.float32)


def _tinted(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    grey = pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    red = np.array([255.0, 32.0, 32.0])
    share = TINT * heat[..., None]
    return np.asarray((1 - share) * grey + share * red, dtype=np.uint8)


def _reduced(pixels: Pixels, patches: Patches | None, *, side_px: int) -> Image.Image:
    image = Image.fromarray(pixels)
    scale = min(1.0, side_px / max(image.size))
    if scale < 1.0:
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    if patches is not None:
        pen = ImageDraw.Draw(image)
        for box, score in zip(patches.boxes, patches.scores.tolist(), strict=True):
            left, top, right, bottom = (round(float(x) * scale) for x in box)
            pen.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255))
            pen.text((left + 4, top + 3), f"{score:.2f}", fill=(255, 255, 255))
    return image
