"""The steps of the full image and video training: what each reads, does and leaves."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch

from detection_training.image import clips, finish
from detection_training.image import data as image_data
from detection_training.image import fit as image_fit
from detection_training.image.data import SEEN, UNSEEN, Pool
from detection_training.image.finish import FOLDERS_NAME, WEIGHTS_NAME, folders_of, write_json
from detection_training.image.fit import FitPlan
from detection_training.image.making import photographs
from detection_training.image.making.autoencoders import Autoencoder
from detection_training.image.making.photos import Photo
from detection_training.image.shown import Job
from detection_training.pipeline import calibration, locked
from detection_training.pipeline.fitting import Progress
from detection_training.pipeline.presets import Order, PresetName
from detection_training.pipeline.sources import Log
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import Stage, Workplace

LOCK: Final = Path(__file__).with_name("image.lock.json")
POOL_NAME: Final = "pool.npz"
PROGRESS_NAME: Final = "progress.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much a preset does.

    Attributes:
        autoencoder_steps: Batches for each autoencoder.
        patches_each: Training patches of each photograph.
        fit: For the detector.
        again: For a second round, from the first one's weights (warm restart, Loshchilov 2017).
        pictures_each: Measured pictures of each photograph.
        clips_each: Measured clips over each photograph.
        unseen: Makers to test on that were not trained on.
        photos: Most photographs of a split; None for all.
    """

    autoencoder_steps: int
    patches_each: int
    fit: FitPlan
    again: FitPlan
    pictures_each: int
    clips_each: int
    unseen: tuple[str, ...]
    photos: int | None = None


PLANS: Final[Mapping[PresetName, Plan]] = {
    "full": Plan(
        autoencoder_steps=400,
        patches_each=28,
        fit=FitPlan(pairs=24, steps=2400, seconds=2400.0, rate=3e-3),
        again=FitPlan(pairs=24, steps=800, seconds=600.0, rate=1.5e-3),
        pictures_each=2,
        clips_each=2,
        unseen=UNSEEN,
    ),
    "tiny": Plan(
        autoencoder_steps=4,
        patches_each=4,
        fit=FitPlan(pairs=4, steps=4, seconds=60.0, rate=3e-3),
        again=FitPlan(pairs=4, steps=2, seconds=60.0, rate=1.5e-3),
        pictures_each=1,
        clips_each=1,
        unseen=UNSEEN[:1],
        photos=2,
    ),
}


def stages(order: Order) -> list[Stage]:
    """Return the steps ``image-fetch`` to ``image-package``."""
    plan = PLANS[order.preset]
    packages = locked.read_lock(LOCK)
    data = {
        "photos": _digest([asdict(p) for p in photographs.ALL]),
        "autoencoder_steps": plan.autoencoder_steps,
        "patches_each": plan.patches_each,
        **({} if plan.photos is None else {"most_photos": plan.photos}),
        "seed": order.seed,
    }
    fit = {**asdict(plan.fit), "params": dict(image_fit.PARAMS), "seed": order.seed}
    return [
        Stage(
            name="image-fetch",
            after=(),
            inputs={"packages": locked.digest_of(packages)},
            run=partial(_fetch, packages=packages, cache=order.cache),
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
            run=partial(_train, plan=plan.fit, seed=order.seed, first=None),
        ),
        Stage(
            name="image-again-train",
            after=("image-build", "image-train"),
            inputs={**asdict(plan.again), "seed": order.seed + 1},
            run=partial(_train, plan=plan.again, seed=order.seed + 1, first="image-train"),
        ),
        *_measuring(plan, order, packages),
    ]


def _measuring(plan: Plan, order: Order, packages: Sequence[locked.Locked]) -> list[Stage]:
    counts = {
        "false_alarms": calibration.FALSE_ALARMS,
        "photos": plan.photos,
        "pictures_each": plan.pictures_each,
        "clips_each": plan.clips_each,
        "unseen": list(plan.unseen),
        "clips": _digest([asdict(clip) for clip in clips.REAL_CLIPS]),
        "seed": order.seed,
    }
    job = Job(
        pictures_each=plan.pictures_each,
        clips_each=plan.clips_each,
        unseen=plan.unseen,
        photos=plan.photos,
        seed=order.seed,
        cache=order.cache,
        made_from=f"{locked.digest_of(packages)} {plan.autoencoder_steps}",
        autoencoders=partial(autoencoders_of, plan=plan, order=order),
    )
    package = partial(finish.package, packages=packages, order=order)
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
            inputs={"output": str(order.output), "force": order.force},
            run=package,
        ),
    ]


def _fetch(place: Workplace, *, packages: Sequence[locked.Locked], cache: Path) -> None:
    folders = locked.fetch_locked(packages, cache, log=place.log)
    paths = {name: str(path.resolve()) for name, path in folders.items()}
    write_json(place.folder / FOLDERS_NAME, paths)
    used = {
        package.name: {"photos": sum(p.source == package.name for p in photographs.ALL)}
        for package in packages
    }
    write_json(place.folder / "DATA_CARD.json", locked.data_card(packages, used))


def _build(place: Workplace, *, plan: Plan, order: Order) -> None:
    folders = folders_of(place)
    photos = [path for _, path in photographs.of_split(folders, Split.TRAIN, most=plan.photos)]
    own = autoencoders_of(folders, plan=plan, order=order, log=place.log)
    makers = image_data.makers(folders, own, SEEN)
    rng = np.random.default_rng(order.seed)
    place.log(f"Images: {plan.patches_each} patches of each of {len(photos)} photographs")
    pool = image_data.build_pool(photos, makers, each=plan.patches_each, rng=rng, log=place.log)
    pool.save(place.folder / POOL_NAME)


def _train(place: Workplace, *, plan: FitPlan, seed: int, first: str | None) -> None:
    # One thread: small networks split badly, and another training may own the other core.
    torch.set_num_threads(1)
    pool = Pool.load(place.inputs["image-build"] / POOL_NAME)
    place.log(f"Images: training on {len(pool.real)} patches")
    progress = Progress(path=place.folder / PROGRESS_NAME)
    network = image_fit.new_network(seed)
    if first is not None:
        safetensors.torch.load_model(network, place.inputs[first] / WEIGHTS_NAME)
    network = image_fit.train(network, pool, plan, seed=seed, log=place.log, progress=progress)
    safetensors.torch.save_model(network, str(place.folder / WEIGHTS_NAME))
    progress.path.unlink(missing_ok=True)


def autoencoders_of(
    folders: Mapping[str, Path], *, plan: Plan, order: Order, log: Log
) -> dict[str, Autoencoder]:
    """Return the autoencoders, trained before or now; kept with the downloads."""
    photos = photographs.of_split(folders, Split.TRAIN, most=plan.photos)
    cache = order.cache / f"image-autoencoders-{_of_photos(photos)[:16]}"
    return image_data.own_autoencoders(
        [path for _, path in photos],
        cache,
        steps=plan.autoencoder_steps,
        seed=order.seed,
        log=log,
    )


def _of_photos(photos: Sequence[tuple[Photo, Path]]) -> str:
    return _digest([[p.source, p.path, path.stat().st_size] for p, path in photos])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
