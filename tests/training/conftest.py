"""Makes small photographs and voices in the places where packages would have them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from detection_training.audio.plan import SMALL_PACKAGES
from detection_training.audio.sound import RATE_HZ, Samples, encode
from detection_training.image.making.photographs import FEW


def voice(rng: np.random.Generator, *, seconds: float) -> Samples:
    """Return a buzz with moving resonances: enough for a pitch and an envelope."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch = 110 * (1 + 0.1 * np.sin(2 * np.pi * 2 * t)) * rng.uniform(0.8, 1.6)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    sound = sum(np.sin(k * phase) / k for k in range(1, 20))
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t) ** 2
    return (0.1 * sound * loud + 0.002 * rng.standard_normal(len(t))).astype(np.float32)


def photograph(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return smooth shapes with grain."""
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (900, 700), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grained = smooth + rng.normal(0, 6, smooth.shape)
    return np.asarray(np.clip(grained, 0, 255), dtype=np.uint8)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small problems are many times slower on threads that wait for a busy machine's other core.

    For torch's own threads, and those of the BLAS under numpy, scipy and scikit-learn.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield
    torch.set_num_threads(before)


def write_voice(folder: Path, name: str, rng: np.random.Generator) -> None:
    """Write an utterance as the package keeps it."""
    codec, container, rate_hz = (
        ("libopus", "ogg", 48_000) if name.endswith(".ogg") else ("g722", "g722", RATE_HZ)
    )
    folder.mkdir(parents=True, exist_ok=True)
    sound = voice(rng, seconds=4)
    (folder / name).write_bytes(encode(sound, codec, container, rate_hz=rate_hz))


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of unpacked packages of the preset ``small``, with a few made files each.

    Of the packages of photographs only the wheels are there, of those of speech all but flite.
    """
    root = tmp_path_factory.mktemp("packages")
    rng = np.random.default_rng(5)
    for photo in FEW:
        if photo.source.startswith("scikit"):
            path = root / photo.source / photo.path
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), photograph(rng))
    for package in SMALL_PACKAGES:
        names = {"aste": ["a{}.g722"], "fill": ["x-m-{}.ogg", "x-v-{}.ogg"]}.get(package[:4], [])
        for name in names:
            for i in range(4):
                write_voice(root / package / "sounds", name.format(i), rng)
    return root
