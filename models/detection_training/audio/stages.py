"""The steps of the audio training: what each reads, does and leaves."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch

from detection_contract.media_types import MediaKind
from detection_training.audio import build as audio_build
from detection_training.audio import card as audio_card
from detection_training.audio import corpus, leaks
from detection_training.audio import fit as audio_fit
from detection_training.audio import report as audio_report
from detection_training.audio.dataset import (
    ClipRow,
    Clips,
    packed_table,
    read_clips,
    read_shard,
    read_table,
)
from detection_training.audio.making.channels import mixed, noise, optional
from detection_training.audio.order import BuildOrder
from detection_training.audio.plan import AudioPlan, plan_of
from detection_training.audio.sound import Samples
from detection_training.metrics import Floats
from detection_training.pipeline import calibration, locked, package
from detection_training.pipeline.locked import Media, noted_folders
from detection_training.pipeline.package import LICENSE, Design, Outcome
from detection_training.pipeline.presets import Order
from detection_training.pipeline.sources import NoMediaError
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import Stage, Workplace, write_atomically
from detection_worker.core.verdict import Calibration, Thresholds
from detection_worker.detectors import architectures
from detection_worker.detectors.base import Grade
from detection_worker.detectors.torch_detector import TorchDetector

LOCK: Final = Path(__file__).with_name("audio.lock.json")
WEIGHTS_NAME: Final = "network.safetensors"
PROGRESS_NAME: Final = "progress.pt"
BUILD_RECIPE: Final = 2
FIT_RECIPE: Final = 3
JUDGING_RECIPE: Final = 6
TEXT_RECIPE: Final = 6
"""Raised when the code changes what these steps make, so that old work is not reused."""
LIMIT: Final = 8
"""Bound of a window's logit in use: wide enough for a sure score to be near 0 or 1."""
NOISE_DB: Final = (20, 10)
"""How far below a test clip the noise lies that is added to see what it does."""
NOISY_EVERY: Final = 3
SPLITS: Final = (Split.TRAIN, Split.DEV, Split.TEST)


def design(plan: AudioPlan, *, grade: Grade = "experimental") -> Design:
    """Return the network that a plan trains."""
    return Design(
        id=plan.id,
        version=plan.version,
        kind=MediaKind.AUDIO,
        architecture="audio_lfb",
        params={**_shape(plan), "limit": LIMIT},
        sampling=audio_fit.SAMPLING,
        pooling=audio_fit.POOLING,
        grade="demo" if plan.demo else grade,
    )


def _shape(plan: AudioPlan) -> dict[str, int]:
    return {"width": plan.width, "bands": plan.bands, "rows": plan.rows}


def stages(order: Order, *, lock: Path = LOCK) -> list[Stage]:
    """Return the steps ``audio-fetch`` to ``audio-package``.

    Args:
        order: What and where.
        lock: The packages that media come from.
    """
    plan = plan_of(order)
    media = Media.of(lock, newest=plan.newest)
    common = {"seed": order.seed, "recipe": BUILD_RECIPE}
    fitted = {"seed": order.seed, "recipe": FIT_RECIPE}
    judged = {**fitted, "judging": JUDGING_RECIPE}
    amounts = asdict(plan)
    fit = {name: amounts[name] for name in ("steps", "seconds", "width", "bands", "rows")}
    other = {*fit, "processes", "needs", "id", "version", "demo"}
    data = {name: amount for name, amount in amounts.items() if name not in other}
    return [
        Stage(
            name="audio-fetch",
            after=(),
            inputs={"packages": media.identity},
            run=partial(_fetch, media=media, order=order, plan=plan),
            leaves=lambda folder: noted_folders(folder).values(),
        ),
        Stage(
            name="audio-build",
            after=("audio-fetch",),
            inputs={**data, **common},
            run=partial(_build, media=media, order=order, plan=plan),
        ),
        Stage(
            name="audio-train",
            after=("audio-build",),
            inputs={**fit, **fitted},
            run=partial(_train, order=order, plan=plan),
        ),
        Stage(
            name="audio-calibrate",
            after=("audio-build", "audio-train"),
            inputs=judged,
            run=partial(_calibrate, plan=plan),
        ),
        Stage(
            name="audio-evaluate",
            after=("audio-build", "audio-train", "audio-calibrate"),
            inputs=judged,
            run=partial(_evaluate, plan=plan),
        ),
        Stage(
            name="audio-package",
            after=(
                "audio-fetch",
                "audio-build",
                "audio-train",
                "audio-calibrate",
                "audio-evaluate",
            ),
            inputs={
                **judged,
                "text": TEXT_RECIPE,
                "output": str(order.output.resolve()),
            },
            run=partial(_package, media=media, order=order, plan=plan),
            leaves=lambda _: [order.output / plan.id],
        ),
    ]


def _fetch(place: Workplace, *, media: Media, order: Order, plan: AudioPlan) -> None:
    for name in plan.needs:
        optional(name)
    package.check_free(order.output, (plan.id,), force=order.force)
    folders = media.fetch_into(place.folder, order.cache, log=place.log)
    if {voice.split for voice in corpus.voices(folders)} < set(SPLITS):
        raise NoMediaError("Too little speech to train, calibrate and test with!")
    place.log(f"  {len(folders)} packages are there")


def _build(place: Workplace, *, media: Media, order: Order, plan: AudioPlan) -> None:
    folders = noted_folders(place.inputs["audio-fetch"])
    build = BuildOrder(folders=folders, shards=place.folder / "shards", plan=plan, seed=order.seed)
    audio_build.build(build, place.folder, log=place.log)
    rows = read_table((place.folder / "clips.csv").read_text())
    if {(row.split, row.fake) for row in rows} < set(product(SPLITS, (False, True))):
        raise NoMediaError("Too little speech to train, calibrate and test with!")
    card = locked.data_card(media.used(folders), audio_report.used(rows))
    _write(place.folder / "DATA_CARD.json", card)


def _train(place: Workplace, *, order: Order, plan: AudioPlan) -> None:
    # One thread: small networks split badly, and another training may own the other core.
    torch.set_num_threads(1)
    torch.manual_seed(order.seed)
    made = design(plan)
    # Trained within the architecture's own narrow bound, which keeps a few windows from ruling.
    network = architectures.build_network(made.architecture, _shape(plan), where=made.id)
    clips = read_clips(place.inputs["audio-build"], Split.TRAIN)
    place.log(f"  training on {len(clips)} clips")
    progress = place.folder / PROGRESS_NAME
    network = audio_fit.train(
        network, clips, plan, seed=order.seed, progress=progress, log=place.log
    )
    write_atomically(place.folder / WEIGHTS_NAME, safetensors.torch.save(network.state_dict()))
    progress.unlink(missing_ok=True)


def _calibrate(place: Workplace, *, plan: AudioPlan) -> None:
    torch.set_num_threads(1)
    clips = read_clips(place.inputs["audio-build"], Split.DEV)
    logits = audio_fit.score_clips(_detector(place, plan), clips)
    fake = np.array([row.fake for row in clips.rows])
    weights = audio_report.family_weights(clips.rows)
    a, _ = calibration.fit_platt(*_levelled(logits, fake, weights))
    # Platt's own offset weighs how far voices are mistaken; what counts at 0.5 is how many are.
    voices = [row.speaker for row in clips.rows]
    b = -a * audio_report.even_logit(logits, fake, weights, voices)
    scores = audio_report.sigmoid(a * logits + b)
    low, high = audio_report.undecided(scores, fake, weights)
    _write(
        place.folder / "calibration.json",
        {"a": a, "b": b, "low": low, "high": high, "clips": len(clips)},
    )
    place.log(f"  P(fake) = sigmoid({a:.3f} x + {b:.3f}); inconclusive {low:.2f} to {high:.2f}")


def _levelled(
    logits: Floats, fake: np.ndarray[Any, np.dtype[np.bool_]], weights: Floats
) -> tuple[Floats, Floats]:
    """Return real and fake logits, resampled so that families and voices weigh alike."""
    rng = np.random.default_rng(0)
    found = []
    for wanted in (False, True):
        chosen = np.flatnonzero(fake == wanted)
        share = weights[chosen] / weights[chosen].sum()
        found.append(logits[rng.choice(chosen, size=4 * len(chosen), p=share)])
    return found[0], found[1]


def _evaluate(place: Workplace, *, plan: AudioPlan) -> None:
    torch.set_num_threads(1)
    build = place.inputs["audio-build"]
    detector = _detector(place, plan)
    kept = _read(place.inputs["audio-calibrate"] / "calibration.json")
    scored: dict[Split, tuple[Clips, Floats]] = {}
    for split in (Split.DEV, Split.TEST):
        clips = read_clips(build, split)
        logits = audio_fit.score_clips(detector, clips)
        scored[split] = (clips, _calibrated(logits, kept))
    stored = _as_stored(build / "shards")
    logits = audio_fit.score(detector, [sound for _, sound in stored])
    as_they_are = _calibrated(logits, kept)
    report = audio_report.report(
        scored,
        ([row for row, _ in stored], as_they_are),
        {split: read_clips(build, split) for split in SPLITS},
        _noisy(detector, scored[Split.TEST][0], kept),
    )
    _write(place.folder / "eval.json", report)
    place.log(audio_report.text(report))


def _noisy(
    detector: TorchDetector, clips: Clips, kept: Mapping[str, Any]
) -> dict[str, tuple[list[ClipRow], Floats]]:
    """Return rows and P(fake) of every third test clip with noise added."""
    chosen = range(0, len(clips), NOISY_EVERY)
    rng = np.random.default_rng(0)
    found = {}
    for below_db in NOISE_DB:
        sounds = [
            mixed(clips.sound(i), noise(clips.rows[i].samples, rng), below_db=below_db)
            for i in chosen
        ]
        scores = _calibrated(audio_fit.score(detector, sounds), kept)
        found[f"{below_db} dB"] = ([clips.rows[i] for i in chosen], scores)
    return found


def _calibrated(logits: Floats, kept: Mapping[str, Any]) -> Floats:
    """Return P(fake) by what the step before kept."""
    return audio_report.sigmoid(kept["a"] * logits + kept["b"])


def _as_stored(shards: Path) -> list[tuple[ClipRow, Samples]]:
    """Return the real test clips before noise floor and channel."""
    parts = [read_shard(path) for path in sorted(shards.glob("base-*.npz"))]
    return [
        (row, clips.sound(i))
        for clips in parts
        for i, row in enumerate(clips.rows)
        if row.split is Split.TEST
    ]


def _package(place: Workplace, *, media: Media, order: Order, plan: AudioPlan) -> None:
    build = place.inputs["audio-build"]
    report = _read(place.inputs["audio-evaluate"] / "eval.json")
    if not plan.demo:
        leaks.check_gates(report)
    kept = _read(place.inputs["audio-calibrate"] / "calibration.json")
    made = design(plan, grade=audio_report.grade(report))
    package.check_free(order.output, (made.id,), force=order.force)
    network = _network(place, plan)
    rows = read_table((build / "clips.csv").read_text())
    folders = noted_folders(place.inputs["audio-fetch"])
    outcome = Outcome(
        calibration=Calibration(a=kept["a"], b=kept["b"]),
        evaluation=report,
        card=audio_card.card(
            made,
            network,
            report,
            packages=media.used(folders),
            rows=rows,
            calibration=kept,
            demo=plan.demo,
        ),
        training={
            "data_lock": media.digest(order.cache),
            "seed": order.seed,
            "preset": order.preset,
        },
        license=LICENSE,
        thresholds=Thresholds(low=kept["low"], high=kept["high"]),
        more={
            "splits.csv.gz": packed_table(rows),
            "DATA_CARD.json": (build / "DATA_CARD.json").read_bytes(),
        },
    )
    package.write_model(order.output, made, network=network, made=outcome)
    place.log(f"  {order.output / made.id}")


def _network(place: Workplace, plan: AudioPlan) -> torch.nn.Module:
    made = design(plan)
    network = architectures.build_network(made.architecture, made.params, where=made.id)
    path = place.inputs["audio-train"] / WEIGHTS_NAME
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.eval()


def _detector(place: Workplace, plan: AudioPlan) -> TorchDetector:
    return package.provisional(design(plan), _network(place, plan))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
