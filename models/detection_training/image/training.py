"""The image detector: real patches, their reconstructions, training and scores by family."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection_training.image.making import autoencoders, treatments
from detection_training.image.making.autoencoders import TRAINED_ON, Autoencoder
from detection_training.image.making.photos import Pixels, patches, read_photo
from detection_training.image.making.treatments import Treatment
from detection_training.pipeline.fitting import fit
from detection_training.pipeline.pooling import pooled
from detection_training.pipeline.sources import Log
from detection_worker.core.sampling import ImageSampling, VideoSampling
from detection_worker.core.verdict import Pooling
from detection_worker.detectors.base import Detector
from detection_worker.media.crops import cut

Floats = NDArray[np.float64]
SAMPLING: Final = ImageSampling(crop_px=128, max_crops=4)
VIDEO_SAMPLING: Final = VideoSampling(max_frames=16, crop_px=128, crops_per_frame=2)
PATCH_PX: Final = 192
PICTURE_PX: Final = (320, 384)
"""Side of a training patch; height and width of the pictures that are measured."""
BATCH_PAIRS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """How much to do.

    Attributes:
        patches: Real training patches; each is also reconstructed by every trained-on decoder.
        autoencoder_steps: Batches for each autoencoder.
        steps: Batches for the detector.
        seconds: Most time for the detector's training.
        pictures: Pictures of each split that is measured.
        clips: Video clips of each split that is measured.
    """

    patches: int
    autoencoder_steps: int
    steps: int
    seconds: float
    pictures: int
    clips: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchPool:
    """Patches and their reconstructions, paired by index.

    Attributes:
        real: ``(n, PATCH_PX, PATCH_PX, 3)``.
        fakes: Reconstructions by each trained-on decoder, same shape.
    """

    real: Pixels
    fakes: tuple[Pixels, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Real pictures and their reconstructions by decoder, paired by index."""

    real: Pixels
    fakes: dict[str, Pixels]


def autoencoder_patches(photos: Sequence[Path], plan: ImagePlan, *, seed: int) -> Pixels:
    """Return patches of the photographs for the autoencoders."""
    return patches(
        [read_photo(p) for p in photos],
        count=max(plan.patches // 2, 16),
        side_px=autoencoders.SIDE_PX + 32,
        rng=np.random.default_rng(seed),
    )


def build_pool(
    photos: Sequence[Path],
    models: dict[str, Autoencoder],
    *,
    count: int,
    rng: np.random.Generator,
) -> PatchPool:
    """Return training pairs; a third of the pairs are frames of H.264 clips.

    Video compression is too slow to be drawn anew for every batch, as JPEG and WebP are.
    """
    real = patches([read_photo(p) for p in photos], count=count, side_px=PATCH_PX, rng=rng)
    fakes = [autoencoders.reconstruct(models[name], real) for name in TRAINED_ON]
    for i in range(0, count, 3):
        seed = int(rng.integers(1 << 31))
        for pixels in (real, *fakes):
            # The same seed: both classes get the same quality and the same place in the clip.
            pixels[i] = treatments.h264(pixels[i], np.random.default_rng(seed))
    return PatchPool(real=real, fakes=tuple(fakes))


class PairBatches:
    """Draws batches in which every real crop comes with its reconstruction, treated alike."""

    def __init__(self, pool: PatchPool, *, rng: np.random.Generator) -> None:
        self._pool = pool
        self._rng = rng
        self._treatments = tuple(treatments.IMAGE_TREATMENTS.values())

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return pixels ``(2 * BATCH_PAIRS, 3, 128, 128)`` and labels, 1 for fake."""
        crops: list[Pixels] = []
        for i in self._rng.integers(0, len(self._pool.real), BATCH_PAIRS):
            fake = self._pool.fakes[int(self._rng.integers(len(self._pool.fakes)))]
            crops += self._pair(self._pool.real[i], fake[i])
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return pixels, torch.tensor([0.0, 1.0]).repeat(BATCH_PAIRS)

    def _pair(self, real: Pixels, fake: Pixels) -> list[Pixels]:
        treatment = self._treatments[int(self._rng.integers(len(self._treatments)))]
        seed = int(self._rng.integers(1 << 31))
        crop = SAMPLING.crop_px
        y, x = self._rng.integers(0, PATCH_PX - crop + 1, 2)
        flip = bool(self._rng.integers(2))
        treated = (treatment(p, np.random.default_rng(seed)) for p in (real, fake))
        cut_out = (p[y : y + crop, x : x + crop] for p in treated)
        return [c[:, ::-1] if flip else c for c in cut_out]


def train(
    network: torch.nn.Module, pool: PatchPool, plan: ImagePlan, *, seed: int, log: Log
) -> torch.nn.Module:
    """Return the network trained on the pool."""
    torch.manual_seed(seed)
    batches = PairBatches(pool, rng=np.random.default_rng(seed))
    network = network.to(memory_format=torch.channels_last)
    trained = fit(
        network,
        batches,
        name="images",
        steps=plan.steps,
        rate=3e-3,
        seconds=plan.seconds,
        log=log,
    )
    return trained.to(memory_format=torch.contiguous_format)


def build_pictures(
    photos: Sequence[Path],
    models: dict[str, Autoencoder],
    *,
    count: int,
    rng: np.random.Generator,
) -> Pictures:
    """Return pictures to measure on, with reconstructions by every decoder."""
    height, width = PICTURE_PX
    side = max(height, width)
    real = patches([read_photo(p) for p in photos], count=count, side_px=side, rng=rng)
    real = np.ascontiguousarray(real[:, :height, :width])
    fakes = {name: autoencoders.reconstruct(model, real) for name, model in models.items()}
    return Pictures(real=real, fakes=fakes)


def score_pictures(
    detector: Detector, pixels: Pixels, *, treatment: Treatment, pooling: Pooling, seed: int
) -> Floats:
    """Return one pooled logit for each picture, by the very crops that the worker cuts."""
    rng = np.random.default_rng(seed)
    logits = []
    for picture in pixels:
        units, _ = cut(
            treatment(picture, rng), crop_px=SAMPLING.crop_px, max_crops=SAMPLING.max_crops
        )
        logits.append(pooled(detector.logits(units), [0] * len(units), pooling))
    return np.array(logits)


def score_clips(detector: Detector, pixels: Pixels, *, pooling: Pooling, seed: int) -> Floats:
    """Return one pooled logit for each picture turned into a short panned H.264 clip."""
    rng = np.random.default_rng(seed)
    logits = []
    for picture in pixels:
        frames = treatments.read_frames(treatments.write_clip(pan(picture), crf=_crf(rng)))
        crops = [
            cut(f, crop_px=VIDEO_SAMPLING.crop_px, max_crops=VIDEO_SAMPLING.crops_per_frame)[0]
            for f in frames
        ]
        frame = np.repeat(np.arange(len(crops)), [len(c) for c in crops])
        logits.append(pooled(detector.logits(np.concatenate(crops)), frame.tolist(), pooling))
    return np.array(logits)


def pan(picture: Pixels, *, frames: int = 8, step_px: int = 6) -> Pixels:
    """Return frames that move over a picture from left to right; even sides."""
    height, width = picture.shape[:2]
    view = (width - step_px * (frames - 1)) // 2 * 2
    return np.stack(
        [picture[: height // 2 * 2, i * step_px : i * step_px + view] for i in range(frames)]
    )


def _crf(rng: np.random.Generator) -> int:
    return int(rng.integers(18, 27))
