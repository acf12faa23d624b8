"""The steps of the image and video training: what each reads, does and leaves."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch

from detection_training.image import clips, finish
from detection_training.image import data as image_data
from detection_training.image import fit as image_fit
from detection_training.image.data import Pool
from detection_training.image.finish import WEIGHTS_NAME, write_json
from detection_training.image.making.autoencoders import Autoencoder
from detection_training.image.making.photographs import Photo
from detection_training.image.plan import FitPlan, Plan, plan_of
from detection_training.image.shown import Job
from detection_training.pipeline import calibration, locked, package
from detection_training.pipeline.fitting import Progress
from detection_training.pipeline.locked import Media, noted_folders
from detection_training.pipeline.presets import Order
from detection_training.pipeline.sources import Log, NoMediaError
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import Stage, Workplace

LOCK: Final = Path(__file__).with_name("image.lock.json")
POOL_NAME: Final = "pool.npz"
PROGRESS_NAME: Final = "progress.pt"
SPLITS: Final = (Split.TRAIN, Split.DEV, Split.TEST)


def stages(order: Order) -> list[Stage]:
    """Return the steps ``image-fetch`` to ``image-package``."""
    plan = plan_of(order)
    media = Media.of(LOCK, newest=plan.newest)
    data = {
        "photos": _digest([asdict(p) for p in plan.photos]),
        "autoencoder_steps": plan.autoencoder_steps,
        "patches_each": plan.patches_each,
        "seen": list(plan.seen),
        "most_photos": plan.most_photos,
        "seed": order.seed,
    }
    fit = {**asdict(plan.fit), "params": dict(plan.image.params), "seed": order.seed}
    return [
        Stage(
            name="image-fetch",
            after=(),
            inputs={"packages": media.identity},
            run=partial(_fetch, media=media, plan=plan, order=order),
            leaves=lambda folder: noted_folders(folder).values(),
        ),
        Stage(
            name="image-build",
            after=("image-fetch",),
            inputs=data,
            run=partial(_build, plan=plan, order=order),
        ),
        Stage(
            name="image-train",
            after=("image-build",),
            inputs=fit,
            run=partial(_train, plan=plan, seed=order.seed),
        ),
        Stage(
            name="image-again-train",
            after=("image-build", "image-train"),
            inputs={**asdict(plan.again), "seed": order.seed + 1},
            run=partial(_train_again, plan=plan, seed=order.seed + 1),
        ),
        *_measuring(plan, order, media),
    ]


def _measuring(plan: Plan, order: Order, media: Media) -> list[Stage]:
    counts = {
        "false_alarms": calibration.FALSE_ALARMS,
        "most_photos": plan.most_photos,
        "pictures_each": plan.pictures_each,
        "clips_each": plan.clips_each,
        "unseen": list(plan.unseen),
        "clips": _digest([asdict(clip) for clip in clips.REAL_CLIPS]),
        "seed": order.seed,
    }
    job = Job(
        plan=plan,
        seed=order.seed,
        cache=order.cache,
        made_from=f"{media.identity} {plan.autoencoder_steps}",
        autoencoders=partial(autoencoders_of, plan=plan, order=order),
    )
    return [
        Stage(
            name="image-calibrate",
            after=("image-fetch", "image-again-train"),
            inputs=counts,
            run=partial(finish.calibrate, job=job),
        ),
        Stage(
            name="image-evaluate",
            after=("image-fetch", "image-again-train", "image-calibrate"),
            inputs=counts,
            run=partial(finish.evaluate, job=job),
        ),
        Stage(
            name="image-package",
            after=("image-fetch", "image-again-train", "image-calibrate", "image-evaluate"),
            inputs={"output": str(order.output.resolve()), "force": order.force},
            run=partial(finish.package, media=media, plan=plan, order=order),
            leaves=lambda _: [order.output / name for name in plan.ids],
        ),
    ]


def _fetch(place: Workplace, *, media: Media, plan: Plan, order: Order) -> None:
    package.check_free(order.output, plan.ids, force=order.force)
    folders = media.fetch_into(place.folder, order.cache, log=place.log)
    if not all(plan.photos_of(folders, split) for split in SPLITS):
        raise NoMediaError("Too few photographs to train, calibrate and test with!")
    used = {
        name: {"photos": sum(photo.source == name for photo in plan.photos)} for name in folders
    }
    card = locked.data_card(media.used(folders), used)
    write_json(place.folder / "DATA_CARD.json", card)


def _build(place: Workplace, *, plan: Plan, order: Order) -> None:
    folders = noted_folders(place.inputs["image-fetch"])
    photos = [path for _, path in plan.photos_of(folders, Split.TRAIN)]
    own = autoencoders_of(folders, plan=plan, order=order, log=place.log)
    makers = image_data.makers(folders, own, plan.seen)
    rng = np.random.default_rng(order.seed)
    place.log(f"Images: {plan.patches_each} patches of each of {len(photos)} photographs")
    pool = image_data.build_pool(photos, makers, each=plan.patches_each, rng=rng, log=place.log)
    pool.save(place.folder / POOL_NAME)


def _train(place: Workplace, *, plan: Plan, seed: int) -> None:
    _fit(place, image_fit.new_network(plan.image, seed=seed), plan.fit, seed=seed)


def _train_again(place: Workplace, *, plan: Plan, seed: int) -> None:
    network = image_fit.new_network(plan.image, seed=seed)
    safetensors.torch.load_model(network, place.inputs["image-train"] / WEIGHTS_NAME)
    _fit(place, network, plan.again, seed=seed)


def _fit(place: Workplace, network: torch.nn.Module, plan: FitPlan, *, seed: int) -> None:
    # One thread: small networks split badly, and another training may own the other core.
    torch.set_num_threads(1)
    pool = Pool.load(place.inputs["image-build"] / POOL_NAME)
    place.log(f"Images: training on {len(pool.real)} patches")
    progress = Progress(path=place.folder / PROGRESS_NAME)
    network = image_fit.train(network, pool, plan, seed=seed, log=place.log, progress=progress)
    safetensors.torch.save_model(network, str(place.folder / WEIGHTS_NAME))
    progress.path.unlink(missing_ok=True)


def autoencoders_of(
    folders: Mapping[str, Path], *, plan: Plan, order: Order, log: Log
) -> dict[str, Autoencoder]:
    """Return the autoencoders, trained before or now; kept with the downloads."""
    photos = plan.photos_of(folders, Split.TRAIN)
    return image_data.own_autoencoders(
        [path for _, path in photos],
        order.cache / f"image-autoencoders-{_of_photos(photos)[:16]}",
        plan.autoencoders,
        steps=plan.autoencoder_steps,
        seed=order.seed,
        log=log,
    )


def _of_photos(photos: Sequence[tuple[Photo, Path]]) -> str:
    return _digest([[p.source, p.path, path.stat().st_size] for p, path in photos])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
