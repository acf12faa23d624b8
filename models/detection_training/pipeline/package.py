"""Writing a model folder that the registry loads."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import Sampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.detectors import self_test
from detection_worker.detectors.base import DetectorCard, Grade
from detection_worker.detectors.model_folder.manifest import MANIFEST_NAME, SCHEMA, read_manifest
from detection_worker.detectors.torch_detector import TorchDetector
from detection_worker.errors import UsageError

WEIGHTS_NAME: Final = "model.safetensors"
MADE_BY: Final = "detection-worker train"
"""Written into every manifest; only folders that say so are overwritten unasked."""
LICENSE: Final = "Apache-2.0"
"""Licence of the weights; the media keep their own."""
DEMO_WARNING: Final = """\
> **Demonstration model.** It is small, was trained within minutes on a handful of freely licensed
> files, and exists so that the queue, the workers and the operator can be run with a real network.
> **Do not use its scores to accuse, block or clear anybody or anything.** It has not seen face
> swaps, lip-sync, diffusion images, or today's cloned voices, and is expected to fail on them.
"""
"""Opens the cards of the preset ``small``."""
SELF_TEST_SEEDS: Final = (1, 2)
APPLIES_TO: Final[Mapping[MediaKind, Mapping[str, Any]]] = {
    MediaKind.IMAGE: {"min_side_px": 64},
    MediaKind.VIDEO: {"min_side_px": 64},
    MediaKind.AUDIO: {"speech": True, "min_duration_s": 2.0},
}
"""What models trained here can judge: they saw speech alone, and in a picture of less than half a
crop each way most of what they see is its own mirror image. ``audio.lengths`` measures from which
length on false alarms keep to the limit for clips of full length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What is decided before training.

    Attributes:
        id: Folder name.
        version: Version of the weights to come.
        kind: Media kind.
        architecture: Name in the registry.
        params: Parameters of its factory.
        sampling: Units that it wants.
        pooling: From units to one logit.
        grade: How much its scores may be trusted.
    """

    id: str
    version: str
    kind: MediaKind
    architecture: str
    params: Mapping[str, int | float | str]
    sampling: Sampling
    pooling: Pooling
    grade: Grade = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What training yields beside the weights.

    Attributes:
        calibration: Fitted on the dev split.
        evaluation: Contents of ``eval.json``.
        card: Text of ``MODEL_CARD.md``.
        training: Provenance for the manifest.
        license: Licence of the weights.
        thresholds: Between which scores it cannot tell; None if that was not measured.
        more: Further files of the folder by name, such as the splits.
    """

    calibration: Calibration
    evaluation: Mapping[str, Any]
    card: str
    training: Mapping[str, Any]
    license: str
    thresholds: Thresholds | None = None
    more: Mapping[str, bytes] = field(default_factory=dict)


def check_free(output: Path, ids: tuple[str, ...], *, force: bool) -> None:
    """Refuse, before any work, to overwrite a folder that training did not make.

    Raises:
        UsageError: A folder exists that training did not make.
    """
    for model_id in ids:
        folder = output / model_id
        if folder.exists() and not force and not _made_here(folder):
            raise UsageError(
                f"Not made by this command, so not overwritten: {folder}\n"
                "Choose another --output, or overwrite it with --force."
            )


def provisional(design: Design, network: torch.nn.Module) -> TorchDetector:
    """Return the network as a detector before calibration, for measuring."""
    card = DetectorCard(
        name=design.id,
        version=design.version,
        sha256="0" * 64,
        grade=design.grade,
        kind=design.kind,
        sampling=design.sampling,
        pooling=design.pooling,
        calibration=Calibration(),
    )
    return TorchDetector(card=card, module=network)


def write_model(output: Path, design: Design, *, network: torch.nn.Module, made: Outcome) -> str:
    """Write a model folder with its own weights; return their sha256."""
    tensors = {name: t.detach().contiguous() for name, t in network.state_dict().items()}
    data = safetensors.torch.save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    parts = {
        "architecture": {"name": design.architecture, "params": dict(design.params)},
        "weights": {
            "file": WEIGHTS_NAME,
            "format": "safetensors",
            "sha256": digest,
            "bytes": len(data),
        },
    }
    _write(output, design, network=network, made=made, parts=parts, files={WEIGHTS_NAME: data})
    return digest


def write_borrowing(
    output: Path,
    design: Design,
    *,
    network: torch.nn.Module,
    made: Outcome,
    owner: tuple[str, str],
) -> None:
    """Write a model folder that uses the weights of ``owner``: id and sha256."""
    parts = {"uses": {"id": owner[0], "sha256": owner[1]}}
    _write(output, design, network=network, made=made, parts=parts, files={})


def _write(
    output: Path,
    design: Design,
    *,
    network: torch.nn.Module,
    made: Outcome,
    parts: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> None:
    manifest = {**_manifest(design, network, made), **parts}
    texts = {
        MANIFEST_NAME: json.dumps(manifest, indent=2) + "\n",
        "eval.json": json.dumps(made.evaluation, indent=2) + "\n",
        "MODEL_CARD.md": made.card,
    }
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".new-") as name:
        fresh = Path(name) / design.id
        fresh.mkdir()
        whole = {**files, **{k: v.encode() for k, v in texts.items()}, **made.more}
        for file, data in whole.items():
            (fresh / file).write_bytes(data)
        read_manifest(fresh)
        target = output / design.id
        # A complete folder takes the place of the old one; a crash leaves one of the two.
        if target.exists():
            shutil.move(target, Path(name) / "old")
        fresh.rename(target)


def _manifest(design: Design, network: torch.nn.Module, made: Outcome) -> dict[str, Any]:
    detector = provisional(design, network)
    answers = [
        {
            "seed": seed,
            "logit": round(
                float(detector.logits(self_test.unit(design.sampling, seed=seed))[0]), 5
            ),
        }
        for seed in SELF_TEST_SEEDS
    ]
    return {
        "schema": SCHEMA,
        "id": design.id,
        "version": design.version,
        "modality": design.kind.value,
        "grade": design.grade,
        "preprocess": {n: getattr(design.sampling, n) for n in type(design.sampling).__slots__},
        "output": {"activation": "sigmoid", "classes": ["real", "fake"], "fake_index": 1},
        "aggregate": {
            "within_frame": design.pooling.within_frame,
            "over_frames": design.pooling.over_frames,
            "top_share": design.pooling.top_share,
        },
        "calibration": {
            "method": "platt",
            "a": round(made.calibration.a, 6),
            "b": round(made.calibration.b, 6),
            "fitted_on": "dev",
        },
        **({} if made.thresholds is None else {"thresholds": asdict(made.thresholds)}),
        "applies_to": dict(APPLIES_TO[design.kind]),
        "selftest": answers,
        "metrics": made.evaluation["summary"],
        "training": {"made_by": MADE_BY, **made.training},
        "license": made.license,
    }


def _made_here(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        return bool(manifest["training"]["made_by"] == MADE_BY)
    except (OSError, ValueError, KeyError, TypeError):
        return False
