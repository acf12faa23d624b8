"""The last steps of the full image and video training: calibrate, evaluate, package."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch

from detection_training.image import cards, clip_results, data, fit, results
from detection_training.image import clips as image_clips
from detection_training.image.cards import IMAGE, VIDEO
from detection_training.image.data import SEEN
from detection_training.image.making import photographs
from detection_training.image.measure import DCGAN, Instrument
from detection_training.image.shown import Job
from detection_training.pipeline import package as packaging
from detection_training.pipeline.calibration import Fitted
from detection_training.pipeline.cards import LICENSE
from detection_training.pipeline.locked import Locked, digest_of
from detection_training.pipeline.package import Outcome
from detection_training.pipeline.presets import Order
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import Workplace
from detection_worker.core.sampling import ImageSampling, VideoSampling
from detection_worker.core.verdict import Calibration, Thresholds

FOLDERS_NAME: Final = "folders.json"
WEIGHTS_NAME: Final = "network.safetensors"
CALIBRATION_NAME: Final = "calibration.json"


def calibrate(place: Workplace, *, job: Job) -> None:
    """Fit calibration and thresholds of both models on the dev split."""
    torch.set_num_threads(1)
    folders = folders_of(place)
    found = job.pictures(folders, Split.DEV, log=place.log)
    clips = job.clips(folders, Split.DEV, log=place.log)
    network = _network(place)
    image = results.calibrate(_instrument(network), found, seed=job.seed, log=place.log)
    leaks = results.trivial(found, seed=job.seed)
    place.log(f"  told from trivial features: {leaks['leaks']}")
    detector = packaging.provisional(VIDEO, network)
    scored = clip_results.logits(detector, clips, **_video())
    films = clip_results.filmed(detector, folders, Split.DEV, **_video())
    video = clip_results.calibrate(clips, scored, films)
    place.log(f"  image: {image}\n  video: {video}")
    fitted = {"image": asdict(image), "video": asdict(video), "trivial_features": leaks}
    write_json(place.folder / CALIBRATION_NAME, fitted)


def evaluate(place: Workplace, *, job: Job) -> None:
    """Measure both models on the test split; leave one JSON file each."""
    torch.set_num_threads(1)
    folders = folders_of(place)
    found = job.pictures(folders, Split.TEST, log=place.log)
    clips = job.clips(folders, Split.TEST, log=place.log)
    network = _network(place)
    image, video = (_fitted(place, kind) for kind in ("image", "video"))
    instrument = replace(_instrument(network), calibration=image.calibration)
    report = results.evaluate(instrument, found, seed=job.seed, log=place.log)
    report["whole_files"] = results.whole_files(
        instrument, photographs.of_split(folders, Split.TEST, most=job.photos)
    )
    write_json(place.folder / "image.json", _complete(place, report))
    detector = packaging.provisional(VIDEO, network)
    scored = clip_results.logits(detector, clips, **_video())
    films = clip_results.filmed(detector, folders, Split.TEST, **_video())
    report = clip_results.evaluate(clips, scored, films, video.calibration, log=place.log)
    write_json(place.folder / "video.json", _complete(place, report))


def package(place: Workplace, *, packages: Sequence[Locked], order: Order) -> None:
    """Write both model folders."""
    packaging.check_free(order.output, (IMAGE.id, VIDEO.id), force=order.force)
    network = _network(place)
    count = {split: sum(p.split is split for p in photographs.ALL) for split in Split}
    numbers = {
        **{str(split): number for split, number in count.items()},
        "parameters": sum(p.numel() for p in network.parameters()),
        "seen": ", ".join(f'"{name}"' for name in SEEN),
        "unseen": ", ".join(f'"{name}"' for name in data.UNSEEN),
        "owner": IMAGE.id,
        "frames": image_clips.FRAMES,
    }
    texts = {
        kind: {part: getattr(cards, f"{kind}_{part}".upper()) for part in _PARTS}
        for kind in ("image", "video")
    }
    provenance = {
        "data_lock": digest_of(packages),
        "seed": order.seed,
        "preset": order.preset,
    }
    made = {}
    for kind, design in (("image", IMAGE), ("video", VIDEO)):
        report = json.loads((place.inputs["image-evaluate"] / f"{kind}.json").read_text())
        fitted = _fitted(place, kind)
        known = {**numbers, "prior": f"{fitted.prior:.0%}".replace("%", " %")}
        filled = {part: text.format(**known) for part, text in texts[kind].items()}
        made[kind] = Outcome(
            calibration=fitted.calibration,
            thresholds=fitted.thresholds,
            evaluation=report,
            card=cards.card(title=design.id, texts=filled, packages=packages, evaluation=report),
            training=provenance,
            license=LICENSE,
            more={"splits.json": _splits()},
        )
    digest = packaging.write_model(order.output, IMAGE, network=network, made=made["image"])
    packaging.write_borrowing(
        order.output, VIDEO, network=network, made=made["video"], owner=(IMAGE.id, digest)
    )
    place.log(f"Written: {order.output / IMAGE.id} and {order.output / VIDEO.id}")


_PARTS: Final = ("what", "data", "limits")


def folders_of(place: Workplace) -> dict[str, Path]:
    """Return the unpacked packages by name."""
    paths = json.loads((place.inputs["image-fetch"] / FOLDERS_NAME).read_text())
    return {name: Path(path) for name, path in paths.items()}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value, indent=1) + "\n")


def _network(place: Workplace) -> torch.nn.Module:
    network = fit.new_network(0)
    safetensors.torch.load_model(network, place.inputs["image-again-train"] / WEIGHTS_NAME)
    return network.eval()


def _instrument(network: torch.nn.Module) -> Instrument:
    assert isinstance(IMAGE.sampling, ImageSampling)  # noqa: S101 - narrows the union
    return Instrument(
        detector=packaging.provisional(IMAGE, network),
        sampling=IMAGE.sampling,
        pooling=IMAGE.pooling,
    )


def _video() -> dict[str, Any]:
    assert isinstance(VIDEO.sampling, VideoSampling)  # noqa: S101 - narrows the union
    return {"sampling": VIDEO.sampling, "pooling": VIDEO.pooling}


def _fitted(place: Workplace, kind: str) -> Fitted:
    path = place.inputs["image-calibrate"] / CALIBRATION_NAME
    saved = json.loads(path.read_text())[kind]
    return Fitted(
        calibration=Calibration(**saved["calibration"]),
        thresholds=Thresholds(**saved["thresholds"]),
        prior=saved["prior"],
    )


def _complete(place: Workplace, report: Mapping[str, Any]) -> dict[str, Any]:
    path = place.inputs["image-calibrate"] / CALIBRATION_NAME
    leaks = json.loads(path.read_text())["trivial_features"]
    seen = [*SEEN]
    unseen = [*data.UNSEEN, DCGAN]
    return {
        "summary": cards.summary(report["rows"]),
        "makers": {"seen": seen, "unseen": unseen},
        **report,
        "trivial_features": leaks,
    }


def _splits() -> bytes:
    listed = {
        "photographs": [asdict(photo) for photo in photographs.ALL],
        "clips": [asdict(clip) for clip in image_clips.REAL_CLIPS],
    }
    return (json.dumps(listed, indent=0) + "\n").encode()
