from pathlib import Path

import numpy as np
import pytest

from detection_training.image.making import treatments
from detection_training.image.making.autoencoders import FORMS, Autoencoder, reconstruct
from detection_training.image.making.photographs import read_whole


def test_a_text_file_is_no_photograph(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("hello")

    with pytest.raises(ValueError, match="not a picture"):
        read_whole(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_codec_keeps_a_picture_nearly_as_it_is(suffix: str) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 3))

    treated = treatments.compressed(ramp, suffix, quality=80)

    assert treated.shape == ramp.shape
    assert np.abs(treated.astype(int) - ramp).mean() < 4


def test_a_clip_keeps_its_frames() -> None:
    frames = np.stack([np.full((64, 96, 3), 40 * i, np.uint8) for i in range(5)])

    read = treatments.read_frames(treatments.write_clip(frames, crf=18))

    assert [round(float(f.mean()) / 40) for f in read] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("decoder", FORMS)
def test_a_reconstruction_has_the_shape_of_its_original(decoder: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)

    assert reconstruct(Autoencoder(decoder).eval(), pixels).shape == pixels.shape
