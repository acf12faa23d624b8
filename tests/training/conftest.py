"""Makes small photographs and voices in the places where packages would have them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detection_training.audio.making.speech import VOICES
from detection_training.audio.sound import RATE_HZ, Samples, encode
from detection_training.image.making.photos import PHOTOS


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


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny batches are many times slower on threads that wait for a busy machine's other cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Unpacked packages by name, with a few files each."""
    root = tmp_path_factory.mktemp("packages")
    rng = np.random.default_rng(5)
    for photo in PHOTOS:
        if photo.source.startswith("scikit"):
            path = root / photo.source / photo.path
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), photograph(rng))
    for listed in VOICES:
        folder = root / listed.source / "sounds"
        folder.mkdir(parents=True, exist_ok=True)
        codec = ("g722", "g722") if listed.pattern.endswith("g722") else ("libopus", "ogg")
        rate_hz = RATE_HZ if codec[1] == "g722" else 48_000
        for i in range(4):
            name = listed.pattern.removeprefix("**/").replace("*", f"a{i}")
            data = encode(voice(rng, seconds=4), codec[0], codec[1], rate_hz=rate_hz)
            (folder / name).write_bytes(data)
    return {path.name: path for path in root.iterdir()}
