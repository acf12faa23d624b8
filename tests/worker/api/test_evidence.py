"""Pictures of what a score rests on."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection_contract.media_types import MediaKind
from detection_testing.media import sample_media
from detection_worker.api.enhanced import EnhancedDeepfakePredictor
from detection_worker.api.evidence import EvidenceKind, draw, score_patches
from detection_worker.detectors import registry
from detection_worker.detectors.saliency import saliency
from detection_worker.detectors.torch_detector import TorchDetector
from detection_worker.errors import UsageError


@pytest.fixture(scope="module")
def detector(tiny_models: Path) -> TorchDetector:
    found = registry.load_detectors(tiny_models, threads=1).by_kind[MediaKind.IMAGE]
    assert isinstance(found, TorchDetector)
    return found


def test_every_part_of_a_picture_gets_a_score_of_its_own(detector: TorchDetector) -> None:
    pixels = sample_media.texture(width=300, height=260, seed=1)

    patches = score_patches(detector, pixels)

    assert len(patches.boxes) == len(patches.scores) == 4
    assert ((patches.scores >= 0) & (patches.scores <= 1)).all()
    left, top, right, bottom = patches.boxes[2]
    assert np.array_equal(patches.crops[2], pixels[top:bottom, left:right])


@pytest.mark.parametrize("kind", ["patches", "saliency"])
@pytest.mark.parametrize("size", [(300, 260), (3400, 140), (90, 70)])
def test_the_drawing_is_a_png_in_the_picture_s_shape(
    detector: TorchDetector, kind: EvidenceKind, size: tuple[int, int]
) -> None:
    pixels = sample_media.texture(width=size[0], height=size[1], seed=2)

    with Image.open(io.BytesIO(draw(detector, pixels, kind=kind))) as drawn:
        shrunk = min(1.0, 1600 / size[0])
        assert drawn.format == "PNG"
        assert drawn.size == (round(size[0] * shrunk), round(size[1] * shrunk))
        red, green, _ = np.asarray(drawn, dtype=np.int32).reshape(-1, 3).T
        assert (red - green).max() > 10


def test_saliency_is_the_gradient_of_the_score(detector: TorchDetector) -> None:
    pixels = sample_media.texture(width=128, height=128, seed=3)
    units = np.stack([pixels, 255 - pixels])

    together, alone = saliency(detector, units), saliency(detector, units[:1])

    assert together.shape == (2, 128, 128)
    assert (together >= 0).all()
    assert together[0].max() > 2 * together[0].min()
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_evidence_comes_from_the_file_that_was_named(tiny_models: Path, tmp_path: Path) -> None:
    image = sample_media.make_image(tmp_path / "a.png", width=200, height=150)
    video = sample_media.make_video(tmp_path / "b.mp4")

    with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:
        png = predictor.evidence(image)
        with pytest.raises(UsageError, match="Not a still image"):
            predictor.evidence(video)

    with Image.open(io.BytesIO(png)) as drawn:
        assert drawn.size == (200, 150)


@pytest.mark.slow
def test_evidence_is_drawn_over_the_visible_part(tiny_models: Path, tmp_path: Path) -> None:
    canvas = np.zeros((400, 500, 4), np.uint8)
    canvas[:150, :200, :3] = sample_media.texture(width=200, height=150, seed=0)
    canvas[:150, :200, 3] = 255
    Image.fromarray(canvas).save(tmp_path / "a.png")

    with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:
        png = predictor.evidence(tmp_path / "a.png")

    with Image.open(io.BytesIO(png)) as drawn:
        assert drawn.size == (200, 150)
