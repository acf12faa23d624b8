"""The image detector and the video detector that borrows it, from photographs to folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from detection_contract.media_types import MediaKind
from detection_training import metrics
from detection_training.image import training
from detection_training.image.making import autoencoders, treatments
from detection_training.image.making.photos import Pixels
from detection_training.image.making.treatments import Treatment
from detection_training.image.training import ImagePlan, Pictures
from detection_training.metrics import Floats
from detection_training.pipeline import cards, package
from detection_training.pipeline.package import Design, Outcome
from detection_training.pipeline.sources import Log
from detection_training.pipeline.splits import Split
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors import architectures
from detection_worker.detectors.base import Detector

Rows = dict[str, dict[str, float]]
IMAGE: Final = Design(
    id="image-residual-demo",
    version="0.1.0",
    kind=MediaKind.IMAGE,
    architecture="image_residual",
    params={"width": 16},
    sampling=training.SAMPLING,
    pooling=Pooling(within_frame="mean", over_frames="mean"),
)
VIDEO: Final = Design(
    id="video-frames-demo",
    version="0.1.0",
    kind=MediaKind.VIDEO,
    architecture=IMAGE.architecture,
    params=IMAGE.params,
    sampling=training.VIDEO_SAMPLING,
    pooling=Pooling(within_frame="mean", over_frames="topk_mean", top_share=0.25),
)
TESTED: Final[Mapping[str, Treatment]] = {
    **treatments.IMAGE_TREATMENTS,
    "resized": treatments.resized,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a model is made from.

    Attributes:
        photos: Photographs by split.
        cache: Where autoencoders are kept.
        sources: Licence of each package used.
        provenance: For the manifest.
        seed: Of everything.
    """

    photos: Mapping[Split, Sequence[Path]]
    cache: Path
    sources: Mapping[str, str]
    provenance: Mapping[str, Any]
    seed: int


def make(inputs: Inputs, plan: ImagePlan, *, output: Path, log: Log) -> None:
    """Train, calibrate, measure and write the image and the video model."""
    photos, seed = inputs.photos, inputs.seed
    log(f"Images: {len(photos[Split.TRAIN])} photographs to train on")
    models = autoencoders.load_or_train(
        inputs.cache,
        lambda: training.autoencoder_patches(photos[Split.TRAIN], plan, seed=seed),
        steps=plan.autoencoder_steps,
        seed=seed,
        log=log,
    )
    rng = np.random.default_rng(seed)
    pool = training.build_pool(photos[Split.TRAIN], models, count=plan.patches, rng=rng)
    torch.manual_seed(seed)
    network = architectures.build_network(IMAGE.architecture, IMAGE.params, where=IMAGE.id)
    log(f"Images: training on {plan.patches} patches")
    network = training.train(network, pool, plan, seed=seed, log=log)
    log("Images: measuring on photographs not trained on")
    dev, test = (
        training.build_pictures(photos[split], models, count=plan.pictures, rng=rng)
        for split in (Split.DEV, Split.TEST)
    )
    digest = _write_image(inputs, network, dev=dev, test=test, output=output, log=log)
    _write_video(
        inputs,
        network,
        dev=dev,
        test=test,
        output=output,
        log=log,
        clips=plan.clips,
        digest=digest,
    )


def _write_image(
    inputs: Inputs,
    network: torch.nn.Module,
    *,
    dev: Pictures,
    test: Pictures,
    output: Path,
    log: Log,
) -> str:
    detector = package.provisional(IMAGE, network)
    calibration = _calibrate_image(detector, dev)
    rows: Rows = {}
    alarms: dict[str, float] = {}
    for name, treatment in TESTED.items():
        real = _scores(detector, test.real, treatment, calibration=calibration)
        alarms[name] = float((real >= 0.5).mean())
        for decoder, pixels in test.fakes.items():
            fake = _scores(detector, pixels, treatment, calibration=calibration)
            rows[f"{_named(decoder)}, {name}"] = metrics.summary(real, fake)
    log(metrics.table(rows))
    parameters = sum(p.numel() for p in network.parameters())
    text = cards.card(
        title=IMAGE.id,
        what=cards.IMAGE_WHAT.format(parameters=parameters),
        data=cards.IMAGE_DATA.format(photos=len(inputs.photos[Split.TRAIN])),
        limits=cards.IMAGE_LIMITS,
        sources=inputs.sources,
        rows=rows,
        false_alarms=alarms,
    )
    made = _outcome(inputs, calibration, rows=rows, alarms=alarms, text=text)
    return package.write_model(output, IMAGE, network=network, made=made)


def _write_video(
    inputs: Inputs,
    network: torch.nn.Module,
    *,
    dev: Pictures,
    test: Pictures,
    output: Path,
    log: Log,
    clips: int,
    digest: str,
) -> None:
    detector = package.provisional(VIDEO, network)

    def logits(pixels: Pixels) -> Floats:
        return training.score_clips(
            detector, pixels[:clips], pooling=VIDEO.pooling, seed=inputs.seed
        )

    fakes = [logits(dev.fakes[name]) for name in autoencoders.TRAINED_ON]
    calibration = _fitted(logits(dev.real), np.concatenate(fakes))
    real = calibrated(logits(test.real), calibration)
    rows = {
        f"{_named(decoder)}, H.264": metrics.summary(real, calibrated(logits(pixels), calibration))
        for decoder, pixels in test.fakes.items()
    }
    alarms = {"panned photographs": float((real >= 0.5).mean())}
    log(metrics.table(rows))
    text = cards.card(
        title=VIDEO.id,
        what=cards.VIDEO_WHAT.format(owner=IMAGE.id),
        data=cards.IMAGE_DATA.format(photos=len(inputs.photos[Split.TRAIN])),
        limits=cards.VIDEO_LIMITS,
        sources=inputs.sources,
        rows=rows,
        false_alarms=alarms,
    )
    made = _outcome(inputs, calibration, rows=rows, alarms=alarms, text=text)
    owner = (IMAGE.id, digest)
    package.write_borrowing(output, VIDEO, network=network, made=made, owner=owner)


def calibrated(logits: Floats, calibration: Calibration) -> Floats:
    """Return P(fake) for pooled logits."""
    return np.asarray(1 / (1 + np.exp(-(calibration.a * logits + calibration.b))))


def _calibrate_image(detector: Detector, dev: Pictures) -> Calibration:
    def logits(pixels: Pixels) -> Floats:
        parts = [
            training.score_pictures(detector, pixels, treatment=t, pooling=IMAGE.pooling, seed=0)
            for t in treatments.IMAGE_TREATMENTS.values()
        ]
        return np.concatenate(parts)

    fakes = [logits(dev.fakes[name]) for name in autoencoders.TRAINED_ON]
    return _fitted(logits(dev.real), np.concatenate(fakes))


def _fitted(real: Floats, fake: Floats) -> Calibration:
    a, b = metrics.fit_platt(real, fake)
    return Calibration(a=a, b=b)


def _scores(
    detector: Detector,
    pixels: Pixels,
    treatment: Treatment,
    *,
    calibration: Calibration,
) -> Floats:
    logits = training.score_pictures(
        detector, pixels, treatment=treatment, pooling=IMAGE.pooling, seed=1
    )
    return calibrated(logits, calibration)


def _named(decoder: str) -> str:
    return decoder if decoder in autoencoders.TRAINED_ON else f"{decoder} (unseen)"


def _outcome(
    inputs: Inputs,
    calibration: Calibration,
    *,
    rows: Rows,
    alarms: Mapping[str, float],
    text: str,
) -> Outcome:
    return Outcome(
        calibration=calibration,
        evaluation={"summary": summarised(rows), "rows": rows, "false_alarms": dict(alarms)},
        card=text,
        training=inputs.provenance,
        license=cards.LICENSE,
    )


def summarised(rows: Rows) -> dict[str, float]:
    """Return the worst, median and best AUC over all rows, for the manifest."""
    values = sorted(row["auc"] for row in rows.values())
    return {
        "auc_worst": values[0],
        "auc_median": values[len(values) // 2],
        "auc_best": values[-1],
    }
