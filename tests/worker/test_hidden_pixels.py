"""The bundled model's opinion on pictures of which a part is hidden, end to end."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detection_testing.samples import sample_path
from detection_worker.api import EnhancedDeepfakePredictor


@pytest.fixture(scope="module")
def predictor() -> Iterator[EnhancedDeepfakePredictor]:
    with EnhancedDeepfakePredictor() as predictor:
        yield predictor


def pixels(name: str) -> NDArray[np.uint8]:
    with Image.open(sample_path(name)) as image:
        return np.asarray(image.convert("RGB"))


def test_an_invisible_canvas_of_photographs_does_not_hide_a_fake(
    predictor: EnhancedDeepfakePredictor, tmp_path: Path
) -> None:
    fake, real = pixels("cat-reconstructed.png"), pixels("cat.png")
    height, width = fake.shape[:2]
    canvas = np.tile(real, (4, 4, 1))[:1200, :1600].copy()
    canvas[:height, :width] = fake
    alpha = np.zeros(canvas.shape[:2], np.uint8)
    alpha[:height, :width] = 255
    Image.fromarray(fake).save(tmp_path / "alone.png")
    Image.fromarray(np.dstack([canvas, alpha])).save(tmp_path / "canvas.png")

    alone, hidden = (
        predictor.predict_auto(tmp_path / name) for name in ("alone.png", "canvas.png")
    )

    assert hidden["label"] == "FAKE"
    assert hidden["prediction_score"] == alone["prediction_score"]
    assert "transparent pixels were shown on white" in hidden["media"]["warnings"]  # type: ignore[index]


def test_noise_behind_a_cut_out_does_not_make_it_fake(
    predictor: EnhancedDeepfakePredictor, tmp_path: Path
) -> None:
    y, x = np.mgrid[:512, :512]
    seen = ((x - 225) / 150) ** 2 + ((y - 260) / 260) ** 2 < 1
    cut_out = pixels("astronaut.jpg").copy()
    cut_out[~seen] = np.random.default_rng(0).integers(0, 256, (int((~seen).sum()), 3))
    alpha = np.where(seen, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([cut_out, alpha])).save(tmp_path / "cut-out.png")

    assert predictor.predict_auto(tmp_path / "cut-out.png")["label"] == "REAL"


def test_a_large_canvas_does_not_make_a_small_picture_large_enough(
    predictor: EnhancedDeepfakePredictor, tmp_path: Path
) -> None:
    canvas = np.zeros((600, 800, 4), np.uint8)
    canvas[:40, :50] = 255
    Image.fromarray(canvas).save(tmp_path / "a.png")

    result = predictor.predict_auto(tmp_path / "a.png")

    assert (result["label"], result["verdict"]) == (None, "not_applicable")
    assert result["verdict_reason"]["code"] == "too_small"  # type: ignore[index]
