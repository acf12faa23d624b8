"""The last steps of the image and video training: calibrate, evaluate, package."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch

from detection_training.image import cards, clip_results, fit, results
from detection_training.image.clips import REAL_CLIPS, RealClip
from detection_training.image.making.photographs import Photo
from detection_training.image.measure import DCGAN, Instrument
from detection_training.image.plan import IMAGE_SAMPLING, VIDEO_SAMPLING, Plan
from detection_training.image.shown import Job
from detection_training.pipeline import package as packaging
from detection_training.pipeline.calibration import Fitted
from detection_training.pipeline.locked import Media, noted_folders
from detection_training.pipeline.package import LICENSE, Outcome
from detection_training.pipeline.presets import Order
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import Workplace
from detection_worker.core.verdict import Calibration, Thresholds

WEIGHTS_NAME: Final = "network.safetensors"
CALIBRATION_NAME: Final = "calibration.json"


def calibrate(place: Workplace, *, job: Job) -> None:
    """Fit calibration and thresholds of both models on the dev split."""
    torch.set_num_threads(1)
    folders = noted_folders(place.inputs["image-fetch"])
    found = job.pictures(folders, Split.DEV, log=place.log)
    clips = job.clips(folders, Split.DEV, log=place.log)
    network = _network(place, job.plan)
    image = results.calibrate(_instrument(network, job.plan), found, seed=job.seed, log=place.log)
    leaks = results.trivial(found, seed=job.seed)
    place.log(f"  told from trivial features: {leaks['leaks']}")
    detector = packaging.provisional(job.plan.video, network)
    scored = clip_results.logits(detector, clips, **_video(job.plan))
    films = clip_results.filmed(detector, folders, Split.DEV, **_video(job.plan))
    video = clip_results.calibrate(clips, scored, films)
    place.log(f"  image: {image}\n  video: {video}")
    fitted = {"image": asdict(image), "video": asdict(video), "trivial_features": leaks}
    write_json(place.folder / CALIBRATION_NAME, fitted)


def evaluate(place: Workplace, *, job: Job) -> None:
    """Measure both models on the test split; leave one JSON file each."""
    torch.set_num_threads(1)
    folders = noted_folders(place.inputs["image-fetch"])
    found = job.pictures(folders, Split.TEST, log=place.log)
    clips = job.clips(folders, Split.TEST, log=place.log)
    network = _network(place, job.plan)
    image, video = (_fitted(place, kind) for kind in ("image", "video"))
    instrument = replace(_instrument(network, job.plan), calibration=image.calibration)
    report = results.evaluate(instrument, found, seed=job.seed, log=place.log)
    photos = job.plan.photos_of(folders, Split.TEST)
    report["whole_files"] = results.whole_files(instrument, photos)
    tested = [*job.plan.unseen, *(c.maker for c in found if c.maker == DCGAN)]
    write_json(place.folder / "image.json", _complete(place, report, job.plan, tested))
    detector = packaging.provisional(job.plan.video, network)
    scored = clip_results.logits(detector, clips, **_video(job.plan))
    films = clip_results.filmed(detector, folders, Split.TEST, **_video(job.plan))
    report = clip_results.evaluate(
        clips, scored, films, video.calibration, seen=job.plan.seen, log=place.log
    )
    write_json(place.folder / "video.json", _complete(place, report, job.plan, tested))


def package(place: Workplace, *, media: Media, plan: Plan, order: Order) -> None:
    """Write both model folders."""
    packaging.check_free(order.output, plan.ids, force=order.force)
    network = _network(place, plan)
    folders = noted_folders(place.inputs["image-fetch"])
    provenance = {
        "data_lock": media.digest(order.cache),
        "seed": order.seed,
        "preset": order.preset,
    }
    made = {}
    for design in (plan.image, plan.video):
        report = json.loads((place.inputs["image-evaluate"] / f"{design.kind}.json").read_text())
        fitted = _fitted(place, design.kind)
        made[design.kind] = Outcome(
            calibration=fitted.calibration,
            thresholds=fitted.thresholds,
            evaluation=report,
            card=cards.card(
                design,
                cards.Facts(
                    photos=plan.photos_in(folders),
                    clips=_filmed(folders),
                    packages=media.used(folders),
                    parameters=sum(p.numel() for p in network.parameters()),
                    owner=plan.image.id,
                    prior=fitted.prior,
                ),
                report,
            ),
            training=provenance,
            license=LICENSE,
            more={"splits.json": _splits(plan.photos_in(folders), _filmed(folders))},
        )
    digest = packaging.write_model(
        order.output, plan.image, network=network, made=made[plan.image.kind]
    )
    packaging.write_borrowing(
        order.output,
        plan.video,
        network=network,
        made=made[plan.video.kind],
        owner=(plan.image.id, digest),
    )
    place.log(f"Written: {' and '.join(str(order.output / name) for name in plan.ids)}")


def _filmed(folders: Mapping[str, Path]) -> list[RealClip]:
    return [clip for clip in REAL_CLIPS if clip.source in folders]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value, indent=1) + "\n")


def _network(place: Workplace, plan: Plan) -> torch.nn.Module:
    network = fit.new_network(plan.image, seed=0)
    safetensors.torch.load_model(network, place.inputs["image-again-train"] / WEIGHTS_NAME)
    return network.eval()


def _instrument(network: torch.nn.Module, plan: Plan) -> Instrument:
    return Instrument(
        detector=packaging.provisional(plan.image, network),
        sampling=IMAGE_SAMPLING,
        pooling=plan.image.pooling,
    )


def _video(plan: Plan) -> dict[str, Any]:
    return {"sampling": VIDEO_SAMPLING, "pooling": plan.video.pooling}


def _fitted(place: Workplace, kind: str) -> Fitted:
    path = place.inputs["image-calibrate"] / CALIBRATION_NAME
    saved = json.loads(path.read_text())[kind]
    return Fitted(
        calibration=Calibration(**saved["calibration"]),
        thresholds=Thresholds(**saved["thresholds"]),
        prior=saved["prior"],
    )


def _complete(
    place: Workplace, report: Mapping[str, Any], plan: Plan, tested: Sequence[str]
) -> dict[str, Any]:
    path = place.inputs["image-calibrate"] / CALIBRATION_NAME
    leaks = json.loads(path.read_text())["trivial_features"]
    return {
        "summary": cards.summary(report["rows"]),
        "makers": {"seen": list(plan.seen), "unseen": list(tested)},
        **report,
        "trivial_features": leaks,
    }


def _splits(photos: Sequence[Photo], clips: Sequence[RealClip]) -> bytes:
    listed = {
        "photographs": [asdict(photo) for photo in photos],
        "clips": [asdict(clip) for clip in clips],
    }
    return (json.dumps(listed, indent=0) + "\n").encode()
