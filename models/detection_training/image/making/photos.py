"""Which photographs are used for what, and patches of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from detection_training.pipeline.splits import Split

Pixels = NDArray[np.uint8]
LONGEST_SIDE_PX: Final = 2400
"""Larger photographs are halved on reading: their own JPEG traces vanish all the same."""
SCALES: Final = (0.3, 0.8)
"""Photographs are reduced by a random factor before anything else. At their own size the JPEG grid
of the real ones would be missing in the reconstructed ones and tell the classes apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One photograph of an unpacked package.

    Attributes:
        source: Name of the package.
        path: Inside the unpacked package.
        split: What it may be used for.
    """

    source: str
    path: str
    split: Split


def listed(source: str, folder: str, **names: str) -> tuple[Photo, ...]:
    """Return one entry for each name.

    Args:
        source: Name of the package.
        folder: Inside the package.
        **names: Names separated by blanks, by split.
    """
    return tuple(
        Photo(source=source, path=f"{folder}/{name}", split=Split(split))
        for split, together in names.items()
        for name in together.split()
    )


PHOTOS: Final = (
    *listed(
        "lomiri-wallpapers-16.04",
        "usr/share/backgrounds",
        train="Picture_1A_by_freespace.jpg Wine_by_Jakkub_Mede.jpg greentock_by_Peter_Nerlich.jpg "
        "aitzgorri_by_Aitzol_Berasategi.jpg Dragonfly_by_Bolly.jpg "
        "friends_by_Aitzol_Berasategi.jpg sunset_by_Aitzol_Berasategi.jpg "
        "life_by_Aitzol_Berasategi.jpg",
        dev="free_by_Peter_Nerlich.jpg Picture_0B_by_freespace.jpg",
        test="picosdeeuropa_by_Aitzol_Berasategi.jpg Bridge_by_Sander_Klootwijk.jpg",
        sample="seeding_by_Clements_Engelhardt.jpg",
    ),
    *listed(
        "lomiri-wallpapers-20.04",
        "usr/share/backgrounds",
        test="Kleiber_by_Lukas_Baubkus.jpg",
    ),
    *listed(
        "mate-backgrounds",
        "usr/share/backgrounds/mate/nature",
        train="Garden.jpg Wood.jpg Aqua.jpg TwoWings.jpg GreenMeadow.jpg Blinds.jpg LadyBird.jpg",
        dev="Storm.jpg FreshFlower.jpg",
        test="YellowFlower.jpg Dune.jpg RainDrops.jpg",
    ),
    *listed(
        "scikit-image",
        "skimage/data",
        test="coffee.png motorcycle_left.png rocket.jpg",
        sample="astronaut.png chelsea.png",
    ),
    *listed("scikit-learn", "sklearn/datasets/images", dev="flower.jpg", test="china.jpg"),
)
LEAST_TRAIN: Final = 5
"""With fewer photographs to train on, those of the other splits are dealt out anew."""


def available(folders: Mapping[str, Path]) -> dict[Split, list[Path]]:
    """Return the photographs of each split that were fetched, in a fixed order.

    Args:
        folders: Unpacked packages by name.
    """
    found: list[tuple[Split, Path]] = [
        (photo.split, folders[photo.source] / photo.path)
        for photo in PHOTOS
        if photo.source in folders
        and photo.split is not Split.SAMPLE
        and (folders[photo.source] / photo.path).is_file()
    ]
    if sum(split is Split.TRAIN for split, _ in found) < LEAST_TRAIN:
        turns = (Split.TRAIN, Split.TEST, Split.TRAIN, Split.DEV, Split.TRAIN)
        found = [(turns[i % len(turns)], path) for i, (_, path) in enumerate(found)]
    return {
        split: [path for own, path in found if own is split]
        for split in (Split.TRAIN, Split.DEV, Split.TEST)
    }


def read_photo(path: Path) -> Pixels:
    """Return a photograph as RGB ``(height, width, 3)``, its longest side bounded.

    Raises:
        ValueError: If the file is no picture.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{path.name}: not a picture")
    while max(pixels.shape[:2]) > LONGEST_SIDE_PX:
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(pixels[:, :, ::-1]).astype(np.uint8, copy=False)


def patches(
    photos: Sequence[Pixels], *, count: int, side_px: int, rng: np.random.Generator
) -> Pixels:
    """Return random patches, equally many of each photograph, ``(count, side, side, 3)``.

    Each comes from the photograph at another scale and softness, so that neither sharpness nor
    the photograph's own compression tells a class.
    """
    return np.stack(
        [_patch(photos[i % len(photos)], side_px=side_px, rng=rng) for i in range(count)]
    )


def _patch(photo: Pixels, *, side_px: int, rng: np.random.Generator) -> Pixels:
    least = (side_px + 1) / min(photo.shape[:2])
    scale = max(float(rng.uniform(*SCALES)), min(least, 1.0))
    filters = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
    reach = int(np.ceil(side_px / scale))
    top = int(rng.integers(0, max(photo.shape[0] - reach, 0) + 1))
    left = int(rng.integers(0, max(photo.shape[1] - reach, 0) + 1))
    region = photo[top : top + reach, left : left + reach]
    how = filters[int(rng.integers(len(filters)))]
    small = cv2.resize(region, (side_px, side_px), interpolation=how)
    if rng.random() < 0.4:
        small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.4, 1.5)))
    return small.astype(np.uint8, copy=False)
