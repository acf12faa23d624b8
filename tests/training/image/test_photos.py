from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detection_training.image import clips
from detection_training.image.making import photographs
from detection_training.image.making.passages import TESTED, Passage, draw_passage
from detection_training.image.making.photographs import ALL, draw
from detection_training.image.stages import LOCK
from detection_training.pipeline import locked
from detection_training.pipeline.splits import Split


def write(path: Path, *, height: int = 300, width: int = 400, seed: int = 0) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return path


def test_no_photograph_is_in_two_splits() -> None:
    places = [(photo.source, photo.path) for photo in ALL]

    assert len(set(places)) == len(places)


def test_the_two_views_of_a_stereo_camera_are_not_told_apart_as_two_scenes() -> None:
    names = {Path(photo.path).name for photo in ALL}

    pairs: Sequence[tuple[str, str]] = [
        ("aloeL.jpg", "aloeR.jpg"),
        ("left.jpg", "right.jpg"),
        ("aero1.jpg", "aero3.jpg"),
        ("leuvenA.jpg", "leuvenB.jpg"),
        ("graf1.png", "graf3.png"),
        ("motorcycle_left.png", "motorcycle_right.png"),
        ("rubberwhale1.png", "rubberwhale2.png"),
    ]
    assert [pair for pair in pairs if set(pair) <= names] == []


def test_every_photograph_and_clip_comes_from_a_locked_package() -> None:
    packages = {package.name for package in locked.read_lock(LOCK)}

    assert {photo.source for photo in ALL} <= packages
    assert {clip.source for clip in clips.REAL_CLIPS} <= packages


def test_every_split_is_large_enough_to_mean_something() -> None:
    count = {split: sum(photo.split is split for photo in ALL) for split in Split}

    assert count[Split.TRAIN] >= 30
    assert count[Split.DEV] >= 10
    assert count[Split.TEST] >= 15


def test_patches_are_drawn_alike_for_the_same_seed(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.png"), write(tmp_path / "b.png", seed=1)]

    first, second = (
        draw(paths, each=4, side_px=48, rng=np.random.default_rng(2), tries=2) for _ in range(2)
    )

    assert first.pixels.shape == (8, 48, 48, 3)
    assert first.photo.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert np.array_equal(first.pixels, second.pixels)


def test_a_patch_that_was_not_reduced_is_cut_out_of_the_photograph(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    whole = photographs.read_whole(path)

    drawn = draw([path], each=40, side_px=64, rng=np.random.default_rng(3))

    kept = drawn.pixels[drawn.as_it_is]
    assert 2 <= len(kept) <= 20
    windows = np.lib.stride_tricks.sliding_window_view(whole[:, :, 0], (64, 64))
    assert all((windows == patch[:, :, 0]).all(axis=(2, 3)).any() for patch in kept)


def test_a_photograph_smaller_than_a_patch_is_enlarged(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", height=40, width=90)

    drawn = draw([path], each=3, side_px=64, rng=np.random.default_rng(3))

    assert drawn.pixels.shape == (3, 64, 64, 3)
    assert not drawn.as_it_is.any()


def test_a_photograph_is_turned_as_its_exif_says_and_loses_its_transparency(
    tmp_path: Path,
) -> None:

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), (200, 0, 0)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGBA", (40, 20), (200, 0, 0, 7)).save(tmp_path / "b.png")

    turned, flat = (photographs.read_whole(tmp_path / name) for name in ("a.jpg", "b.png"))

    assert turned.shape == (40, 20, 3)
    assert flat.shape == (20, 40, 3)
    assert flat[0, 0].tolist() == [200, 0, 0]


def test_a_listed_photograph_that_is_missing_is_named(tmp_path: Path) -> None:
    folders = {photo.source: tmp_path for photo in ALL}

    with pytest.raises(FileNotFoundError, match=r"lomiri.*: usr/share/.* is not in the package"):
        photographs.of_split(folders, Split.TRAIN)


@pytest.mark.parametrize("passage", TESTED.values(), ids=list(TESTED))
def test_a_passage_keeps_a_picture_recognisable(passage: Passage, tmp_path: Path) -> None:
    picture = photographs.read_whole(write(tmp_path / "a.png"))

    treated = passage.apply(picture, seed=1)

    scale = passage.scale
    assert treated.shape == (round(300 * scale), round(400 * scale), 3)
    back = cv2.resize(treated, (400, 300), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(back - picture).mean() < 4


def test_both_of_a_pair_get_the_same_noise() -> None:
    grey = np.full((20, 30, 3), 128, np.uint8)
    passage = Passage(noise=3.0)

    first, second = (passage.apply(grey, seed=5) for _ in range(2))

    assert np.array_equal(first, second)
    assert 2 < float(first.std()) < 4


def test_what_must_be_compressed_is_compressed_and_the_rest_half_the_time() -> None:
    rng = np.random.default_rng(6)

    forced = [draw_passage(rng, compress=True) for _ in range(100)]
    free = [draw_passage(rng, compress=False) for _ in range(400)]

    assert "none" not in {passage.codec for passage in forced}
    assert 0.4 < np.mean([passage.codec == "none" for passage in free]) < 0.6
    assert all(60 <= passage.quality <= 100 for passage in [*forced, *free])
