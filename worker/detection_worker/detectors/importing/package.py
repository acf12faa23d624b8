"""From a network with weights to a model folder that workers load: answers, manifest, folder."""

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from detection_worker.core.verdict import Calibration
from detection_worker.detectors import registry, self_test
from detection_worker.detectors.base import DetectorCard
from detection_worker.detectors.importing import video_use
from detection_worker.detectors.importing.published import Published
from detection_worker.detectors.model_folder import folders
from detection_worker.detectors.model_folder.manifest import MANIFEST_NAME, SCHEMA, ModelError
from detection_worker.detectors.model_folder.manifest_parts import WeightsFormat
from detection_worker.detectors.torch_detector import TorchDetector

MADE_BY: Final = "detection-worker models import"
WEIGHTS_NAME: Final = "model.safetensors"
VERSION: Final = "1.0.0"
ANSWERS: Final = 2
"""Known answers that a manifest gets."""
SEEDS: Final = range(1, 9)
"""Tried for them, in this order."""
NUDGE: Final = 1e-6
"""Relative change of the weights that stands for another machine's rounding."""


def known_answers(network: nn.Module, published: Published, source: Path) -> list[dict[str, Any]]:
    """Return known answers for the manifest, from seeds whose answer does not depend on rounding.

    A network that keeps its best nodes can keep others on another machine when two are as good
    as equal; such a seed would fail the self-test there.

    Raises:
        ModelError: The answers are no numbers, or are all the same.
    """
    plain, nudged = _detector(network, published), _detector(_nudged(network), published)
    answers: list[dict[str, Any]] = []
    for seed in SEEDS:
        unit = self_test.unit(published.sampling, seed=seed)
        logit, other = float(plain.logits(unit)[0]), float(nudged.logits(unit)[0])
        if not math.isfinite(logit):
            raise ModelError(f"{source}: its scores are not numbers\nThe weights are damaged.")
        if abs(logit - other) < self_test.TOLERANCE["cpu"] / 4:
            answers.append({"seed": seed, "logit": round(logit, 5)})
        if len(answers) == ANSWERS:
            break
    if len({answer["logit"] for answer in answers}) < ANSWERS:
        raise ModelError(
            f"{source}: gives every input the same score, or scores that depend on rounding\n"
            "The weights are damaged or untrained."
        )
    return answers


def _nudged(network: nn.Module) -> nn.Module:
    other = copy.deepcopy(network)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1 + NUDGE * torch.randn(weight.shape, generator=random))
    return other


def _detector(network: nn.Module, published: Published) -> TorchDetector:
    card = DetectorCard(
        name=published.architecture,
        version=VERSION,
        sha256="0" * 64,
        grade="published",
        kind=published.kind,
        sampling=published.sampling,
        pooling=published.pooling,
        calibration=Calibration(),
    )
    return TorchDetector(card=card, module=network, fake_index=published.fake_index)


def manifest_of(
    published: Published,
    *,
    name: str,
    data: bytes,
    answers: list[dict[str, Any]],
    file: str = WEIGHTS_NAME,
    file_format: WeightsFormat = "safetensors",
) -> dict[str, Any]:
    """Return what ``manifest.json`` says, but for licence and provenance.

    Args:
        published: Whose network it is.
        name: Name of the model.
        data: The weights file.
        answers: As ``known_answers`` gives them.
        file: Name of the weights file.
        file_format: And what it is.
    """
    sampling, pooling = published.sampling, published.pooling
    return {
        "schema": SCHEMA,
        "id": name,
        "version": VERSION,
        "modality": published.kind.value,
        "grade": "published",
        "architecture": {"name": published.architecture, "params": dict(published.params)},
        "weights": {
            "file": file,
            "format": file_format,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        },
        "preprocess": {n: getattr(sampling, n) for n in type(sampling).__slots__},
        "output": {
            "activation": published.activation,
            "classes": list(published.classes),
            "fake_index": published.fake_index,
        },
        "aggregate": {n: getattr(pooling, n) for n in type(pooling).__slots__},
        "calibration": {"method": "none"},
        "selftest": answers,
    }


def write(
    models_dir: Path, names: Sequence[str], manifest: Mapping[str, Any], *, card: str, data: bytes
) -> None:
    """Write a model folder, and that of its video model, once workers' own way loads them.

    That proves digest, names, shapes, values and known answers.

    Args:
        models_dir: Gets the folders.
        names: Name of the model, then that of the video model that uses it, if any.
        manifest: Manifest of the first.
        card: Model card of the first, Markdown.
        data: Weights of the first.

    Raises:
        ModelError: They do not load, another model uses the weights that are replaced, or nothing
            can be written there.
    """
    folders.check_lent(models_dir, names, sha256=manifest["weights"]["sha256"])
    with folders.staged(models_dir, names) as fresh:
        own = fresh / names[0]
        (own / manifest["weights"]["file"]).write_bytes(data)
        (own / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        (own / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for borrower in names[1:]:
            video_use.write(fresh / borrower, manifest)
        loaded = registry.load_detectors(fresh)
        if loaded.problems:
            raise ModelError(loaded.problems[0])


def told(values: Mapping[str, Any]) -> str:
    """Return names with their values as human-readable text."""
    return ", ".join(f"{name} {value}" for name, value in values.items())
