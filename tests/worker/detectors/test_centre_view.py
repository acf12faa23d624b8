"""The faster resize of the view ``centre`` against one in a single pass: the same scores."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detection_contract.media_types import MediaKind
from detection_testing.samples import SAMPLES, sample_path
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import judge
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.registry import load_detectors
from detection_worker.media import views

Pixels = NDArray[np.uint8]

PHOTOGRAPHS = [sample.name for sample in SAMPLES if sample.kind is MediaKind.IMAGE]
MOST_LEVELS = 2
MOST_SCORE = 0.002


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detectors(bundled_models_dir(), threads=1).by_kind[MediaKind.IMAGE]


def pictures(name: str) -> Iterator[Pixels]:
    """A photograph at the sizes of cameras, with the grain of theirs."""
    random = np.random.default_rng(len(name))
    with Image.open(sample_path(name)) as image:
        small = image.convert("RGB")
    for width, height in ((4032, 3024), (1080, 1920)):
        large = np.asarray(small.resize((width, height), Image.Resampling.LANCZOS))
        grain = random.normal(0, 3, (height, width, 1)).astype(np.int16)
        yield np.clip(large.astype(np.int16) + grain, 0, 255).astype(np.uint8)


def score(unit: Pixels, detector: Detector) -> float:
    card = detector.card
    return judge(
        detector.logits(unit[None]).tolist(),
        [0],
        pooling=card.pooling,
        calibration=card.calibration,
        threshold=0.5,
    ).score


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_centre_of_a_large_photograph_scores_as_ever(name: str, detector: Detector) -> None:
    for pixels in pictures(name):
        for side in (128, 224):
            unit, single = seen(pixels, side), seen_in_one_pass(pixels, side)

            assert np.abs(unit.astype(int) - single).max() <= MOST_LEVELS
            if side == detector.card.sampling.crop_px:  # type: ignore[union-attr]
                assert abs(score(unit, detector) - score(single, detector)) <= MOST_SCORE


def seen(pixels: Pixels, side: int) -> Pixels:
    (unit,), _ = views.see(pixels, ImageSampling(crop_px=side, max_crops=1, view="centre"))
    return np.asarray(unit)


def seen_in_one_pass(pixels: Pixels, side: int) -> Pixels:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "CENTRE_GAP", None)
        return seen(pixels, side)
