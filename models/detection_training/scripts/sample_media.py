"""How the media files in ``detection_testing.samples`` were made; needs its own few packages."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from detection_training.audio import stages as audio_stages
from detection_training.audio.making.vocoders import Flite, griffin_lim
from detection_training.audio.sound import RATE_HZ, Samples, encode, levelled, read_sound, trimmed
from detection_training.image import stages as image_stages
from detection_training.image.making import autoencoders, treatments
from detection_training.image.making.autoencoders import Autoencoder
from detection_training.image.making.photographs import Pixels, read_whole
from detection_training.pipeline.locked import Media
from detection_training.pipeline.sources import Source

READING: Final = "usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb"
DANDELION: Final = "usr/share/backgrounds/seeding_by_Clements_Engelhardt.jpg"
SENTENCE: Final = "This sentence was never spoken by anyone. A machine put it together."
NEEDED: Final = (
    *Media.of(image_stages.LOCK, newest=("lomiri-wallpapers-16.04", "scikit-image")).packages,
    *Media.of(audio_stages.LOCK, newest=("flite", "libflite1")).packages,
    Source(
        name="pocketsphinx-testdata",
        kind="deb",
        holds="speech",
        license="BSD-2-Clause; the readings are in the public domain",
    ),
)


def make_samples(
    folders: Mapping[str, Path], models: Mapping[str, Autoencoder]
) -> dict[str, bytes]:
    """Return the files by name.

    Args:
        folders: The unpacked packages of ``NEEDED``.
        models: Autoencoders by decoder.
    """
    pictures = folders["scikit-image"] / "skimage/data"
    cat = _even(read_whole(pictures / "chelsea.png"))
    photo = read_whole(folders["lomiri-wallpapers-16.04"] / DANDELION)
    dandelion = _even(_width(photo, 640))
    remade = _remade(models["nearest"], dandelion)
    reading = folders["pocketsphinx-testdata"] / READING
    flite = Flite(folders["flite"], folders["libflite1"])
    return {
        "astronaut.jpg": _picture(read_whole(pictures / "astronaut.png"), ".jpg", 90),
        "cat.png": (pictures / "chelsea.png").read_bytes(),
        "cat-reconstructed.png": _picture(_remade(models["transposed"], cat), ".png", 0),
        "dandelion-reconstructed.webp": _picture(remade, ".webp", 90),
        "reading.wav": encode(_spoken(reading, "0880"), "pcm_s16le", "wav"),
        "reading-vocoded.mp3": encode(
            levelled(griffin_lim(_spoken(reading, "0920"), np.random.default_rng(7)), peak=0.8),
            "libmp3lame",
            "mp3",
            bit_rate=64_000,
        ),
        "sentence-synthesised.ogg": encode(
            flite.say(SENTENCE, voice="slt"), "libopus", "ogg", rate_hz=48_000, bit_rate=32_000
        ),
        "dandelion-pan.mp4": _clip(dandelion, "mp4"),
        "dandelion-pan-reconstructed.mkv": _clip(remade, "matroska"),
    }


def write_samples(cache: Path, target: Path, *, fetch: Callable[..., dict[str, Path]]) -> None:
    """Write the files into ``target`` with the autoencoders that training left in ``cache``.

    Args:
        cache: Training cache of the bundled models.
        target: Folder of the samples.
        fetch: ``sources.fetch``.

    Raises:
        FileNotFoundError: Nothing was trained with this cache.
    """
    folders = fetch(cache, sources=NEEDED, log=print)
    models = {name: autoencoders.newest(cache, name) for name in ("nearest", "transposed")}
    for name, data in make_samples(folders, models).items():
        (target / name).write_bytes(data)


def pan(picture: Pixels, *, frames: int, step_px: int) -> Pixels:
    """Return frames ``(frames, h, w, 3)`` that move over a picture to the right; even sides."""
    height, width = picture.shape[:2]
    view = (width - step_px * (frames - 1)) // 2 * 2
    return np.stack(
        [picture[: height // 2 * 2, i * step_px : i * step_px + view] for i in range(frames)]
    )


def _spoken(reading: Path, number: str) -> Samples:
    path = reading.with_name(f"{reading.name}-{number}.wav")
    return levelled(trimmed(read_sound(path))[: 5 * RATE_HZ], peak=0.8)


def _clip(picture: Pixels, container: str) -> bytes:
    frames = pan(picture[:, :480], frames=20, step_px=6)
    return treatments.write_clip(frames, crf=21, container=container)


def _remade(model: Autoencoder, picture: Pixels) -> Pixels:
    whole: Pixels = autoencoders.reconstruct(model, picture[None])[0]
    return whole


def _even(picture: Pixels) -> Pixels:
    height, width = (side // 4 * 4 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _width(picture: Pixels, width: int) -> Pixels:
    height = round(picture.shape[0] * width / picture.shape[1])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def _picture(pixels: Pixels, suffix: str, quality: int) -> bytes:
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 9],
    }
    _, data = cv2.imencode(suffix, np.ascontiguousarray(pixels[:, :, ::-1]), options[suffix])
    return bytes(data)
