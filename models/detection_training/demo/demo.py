"""The whole demonstration training: fetch, train, calibrate, measure, write."""

import hashlib
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import torch

from detection_training.demo import audio_model, image_model
from detection_training.demo.audio_training import AudioPlan
from detection_training.image.making import photos
from detection_training.image.training import ImagePlan
from detection_training.pipeline import package
from detection_training.pipeline.sources import LOCK_NAME, SOURCES, Log, fetch
from detection_worker.detectors.registry import load_detectors
from detection_worker.errors import UsageError

IDS: Final = (image_model.IMAGE.id, image_model.VIDEO.id, audio_model.AUDIO.id)
SEED: Final = 20_240


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """How much to do for each model."""

    image: ImagePlan
    audio: AudioPlan


def plan(minutes: float) -> DemoPlan:
    """Return the work that two cores of 2020 do in about ``minutes``.

    The counts follow from the minutes alone, so that a run can be repeated; the seconds only
    guard slower machines.
    """
    share = minutes / 5
    return DemoPlan(
        image=ImagePlan(
            patches=max(30, round(600 * min(share, 3))),
            autoencoder_steps=max(4, round(200 * share)),
            steps=max(4, round(320 * share)),
            seconds=150 * share + 2,
            pictures=max(6, round(40 * min(share, 3))),
            clips=max(6, round(24 * min(share, 3))),
        ),
        audio=AudioPlan(
            per_voice=max(3, round(40 * min(share, 4))),
            held_out_per_voice=max(3, round(16 * min(share, 4))),
            steps=max(4, round(350 * share)),
            seconds=170 * share + 2,
        ),
    )


def train_demo(cache: Path, output: Path, *, minutes: float, force: bool, log: Log) -> list[str]:
    """Fetch the media, make the three models and load them; return what is missing.

    Args:
        cache: Directory for downloads; kept, so that a second run fetches nothing.
        output: Models directory.
        minutes: About how long to take.
        force: Overwrite folders that training did not make.
        log: Takes progress lines; a function of a module, for it is sent to other processes.

    Raises:
        UsageError: Nothing could be fetched, or a folder is in the way.
    """
    package.check_free(output, IDS, force=force)
    log(f"Fetching freely licensed media into {cache}")
    folders = fetch(cache, log=log)
    lock = hashlib.sha256((cache / LOCK_NAME).read_bytes()).hexdigest()
    order = Order(
        folders=folders,
        output=output,
        work=plan(minutes),
        cache=cache,
        provenance={"data_lock": lock, "seed": SEED},
        log=log,
    )
    return make_models(order, processes=min(2, os.cpu_count() or 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to make and from what.

    Attributes:
        folders: Unpacked packages by name.
        output: Models directory.
        work: How much to do.
        cache: Where autoencoders are kept.
        provenance: For the manifests.
        log: Takes progress lines.
    """

    folders: Mapping[str, Path]
    output: Path
    work: DemoPlan
    cache: Path
    provenance: Mapping[str, str | int]
    log: Log


def make_models(order: Order, *, processes: int) -> list[str]:
    """Make every model that the media at hand allow; return what is missing.

    Args:
        order: What to make.
        processes: 2 trains pictures and sound at once, each on half of the cores. Two processes
            of one thread each are faster than one of two: small networks split badly.

    Raises:
        UsageError: The media allow no model at all.
    """
    started = time.monotonic()
    missing = _both(order) if processes > 1 else [make(order) for make in (_image, _audio)]
    if all(missing):
        raise UsageError(
            "Not enough training media!\nMake `apt-get download` work on this machine, or use the "
            "models that ship with the package."
        )
    loaded = load_detectors(order.output)
    order.log(f"Loaded models: {[str(kind) for kind in loaded.by_kind]}")
    order.log(f"Done after {time.monotonic() - started:.0f} s: {order.output}")
    return [reason for reason in missing if reason]


def _both(order: Order) -> list[str | None]:
    threads = max(1, (os.cpu_count() or 1) // 2)
    with ProcessPoolExecutor(
        max_workers=2,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(threads,),
    ) as pool:
        futures = [pool.submit(make, order) for make in (_image, _audio)]
        return [future.result() for future in futures]


def _image(order: Order) -> str | None:
    by_split = photos.available(order.folders)
    if not all(by_split.values()):
        return "image and video models: no photographs could be fetched"
    inputs = image_model.Inputs(
        photos=by_split,
        cache=order.cache,
        sources=_licenses(order.folders, "photos"),
        provenance=order.provenance,
        seed=SEED,
    )
    image_model.make(inputs, order.work.image, output=order.output, log=order.log)
    return None


def _audio(order: Order) -> str | None:
    made = audio_model.make(
        order.folders,
        order.work.audio,
        sources=_licenses(order.folders, "speech", "synthesiser"),
        provenance=order.provenance,
        seed=SEED,
        output=order.output,
        log=order.log,
    )
    return None if made else "audio model: no speech could be fetched (that needs apt-get)"


def _licenses(folders: Mapping[str, Path], *purposes: str) -> dict[str, str]:
    return {s.name: s.license for s in SOURCES if s.name in folders and s.holds in purposes}
