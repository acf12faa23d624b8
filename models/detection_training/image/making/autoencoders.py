"""Small autoencoders whose reconstructions of photographs are the fake pictures.

A reconstruction shows what its original shows, so a detector trained on such pairs cannot learn
the subject; what differs is the decoder's trace (Guillaro et al. 2024 argue for such pairs).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_training.image.making.photographs import Pixels
from detection_training.pipeline.sources import Log

WIDTH: Final = 24
LATENT: Final = 12
"""Channels at a quarter of the resolution. Three of them are the reduced picture itself, which
spares the first minutes of training."""
SIDE_PX: Final = 64
BATCH: Final = 16


def _nearest(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1))


def _transposed(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, padding=1)


def _shuffle(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One kind of autoencoder.

    Attributes:
        up: Module that doubles the resolution, from channels in to channels out.
        stages: Halvings of the resolution, 2 or 3.
        groups: Groups of the group normalisation in the decoder; 0 for none.
        levels: Values that a number of the latent picture can take, odd; 0 for any.
    """

    up: Callable[[int, int], nn.Module]
    stages: int = 2
    groups: int = 0
    levels: int = 0


FORMS: Final[dict[str, Form]] = {
    "nearest": Form(up=_nearest),
    "transposed": Form(up=_transposed),
    "shuffle": Form(up=_shuffle),
    "quantised": Form(up=_nearest, levels=7),
    "eighth": Form(up=_nearest, stages=3, groups=8),
}
"""Ways to encode and to up-sample; each leaves another trace. "quantised" stands for the codebooks
of VQ models, "eighth" has the reduction and the normalisation of latent diffusion's decoders."""


class Rounded(nn.Module):
    """Numbers within -1 and 1 rounded to few levels, with the gradient of the unrounded ones.

    Finite scalar quantisation (Mentzer et al. 2023): a codebook that cannot collapse.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self._half = (levels - 1) / 2

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` squashed and rounded, same shape."""
        bounded = torch.tanh(x)
        rounded = (bounded * self._half).round() / self._half
        straight: Tensor = bounded + (rounded - bounded).detach()
        return straight


class Autoencoder(nn.Module):
    """Encoder by strided convolutions, decoder by one way to up-sample."""

    def __init__(self, name: str) -> None:
        super().__init__()
        form = FORMS[name]
        self.factor: int = 2**form.stages
        self.encoder = _encoder(form)
        self.decoder = _decoder(form)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of pixels ``(n, 3, h, w)`` in 0 to 1.

        Args:
            x: Sides divide by ``factor``.
        """
        small = functional.avg_pool2d(x, self.factor)
        detail = self.decoder(torch.cat([small * 2 - 1, self.encoder(x * 2 - 1)], dim=1))
        coarse = functional.interpolate(small, scale_factor=self.factor, mode="bilinear")
        whole: Tensor = coarse + detail
        return whole


def _encoder(form: Form) -> nn.Sequential:
    widths = [3, *(WIDTH * 2**i for i in range(form.stages))]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, padding=1), nn.SiLU()]
    layers.append(nn.Conv2d(widths[-1], _latent(form) - 3, 3, padding=1))
    if form.levels:
        layers.append(Rounded(form.levels))
    return nn.Sequential(*layers)


def _decoder(form: Form) -> nn.Sequential:
    def after(channels: int) -> list[nn.Module]:
        norm = [nn.GroupNorm(form.groups, channels)] if form.groups else []
        return [*norm, nn.SiLU()]

    widths = [*(WIDTH * 2**i for i in range(form.stages - 1, -1, -1)), 16]
    layers = [nn.Conv2d(_latent(form), widths[0], 3, padding=1), *after(widths[0])]
    for inputs, outputs in pairwise(widths):
        layers += [form.up(inputs, outputs), *after(outputs)]
        if outputs != widths[-1]:
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1), *after(outputs)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 3, padding=1))


def _latent(form: Form) -> int:
    """Channels of the latent picture: a quarter of the picture's numbers, or an eighth."""
    return LATENT << (form.stages - 2)


def load_or_train(
    cache: Path,
    pixels: Callable[[], Pixels],
    *,
    names: Sequence[str],
    steps: int,
    seed: int,
    log: Log,
) -> dict[str, Autoencoder]:
    """Return one autoencoder for each name, from the cache if it was trained before.

    Args:
        cache: Directory of the files.
        pixels: Returns the patches; called only if something must be trained.
        names: Keys of ``FORMS``.
        steps: Batches of ``BATCH`` for each.
        seed: Seed of the first one's weights and batches; each next one's is one higher.
        log: Takes progress lines.
    """
    cache.mkdir(parents=True, exist_ok=True)
    models: dict[str, Autoencoder] = {}
    patches: Pixels | None = None
    for i, name in enumerate(names):
        path = cache / f"autoencoder-{name}-{steps}-{seed + i}.safetensors"
        if path.is_file():
            models[name] = Autoencoder(name).eval()
            safetensors.torch.load_model(models[name], path)
            continue
        patches = pixels() if patches is None else patches
        models[name] = train(name, patches, steps=steps, seed=seed + i, log=log)
        safetensors.torch.save_model(models[name], str(path))
    return models


def newest(cache: Path, decoder: str) -> Autoencoder:
    """Return the autoencoder that was trained last with a cache.

    Raises:
        FileNotFoundError: There is none.
    """
    found = sorted(cache.glob(f"**/autoencoder-{decoder}-*"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"no autoencoder {decoder} in {cache}")
    model = Autoencoder(decoder).eval()
    safetensors.torch.load_model(model, found[-1])
    return model


def train(decoder: str, pixels: Pixels, *, steps: int, seed: int, log: Log) -> Autoencoder:
    """Return an autoencoder fitted to patches.

    Args:
        decoder: Key of ``FORMS``.
        pixels: ``(n, side, side, 3)``, sides at least ``SIDE_PX``.
        steps: Batches of ``BATCH``.
        seed: Seed of weights and batches.
        log: Takes progress lines.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Autoencoder(decoder)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps + 1)
    for step in range(steps):
        x = _batch(pixels, rng)
        y = model(x)
        # Plain L1 blurs; the neighbours' differences keep edges and grain.
        loss = functional.l1_loss(y, x) + sum(
            functional.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (2, 3)
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            psnr = -10 * float((y - x).detach().square().mean().log10())
            log(f"  autoencoder {decoder}: step {step + 1}/{steps}, PSNR {psnr:.1f} dB")
    return model.eval()


def reconstruct(model: Autoencoder, pixels: Pixels) -> Pixels:
    """Return the reconstructions of pictures ``(n, h, w, 3)``; sides divide by its factor."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            x = torch.from_numpy(pixels[start : start + BATCH]).permute(0, 3, 1, 2) / 255.0
            y = (model(x).clamp(0, 1) * 255).round().to(torch.uint8)
            parts.append(y.permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def _batch(pixels: Pixels, rng: np.random.Generator) -> Tensor:
    last = pixels.shape[1] - SIDE_PX
    chosen = []
    for i in rng.integers(0, len(pixels), BATCH):
        y, x = rng.integers(0, last + 1, 2)
        chosen.append(pixels[i, y : y + SIDE_PX, x : x + SIDE_PX])
    return torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 255.0
