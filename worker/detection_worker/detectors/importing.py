"""From a published checkpoint to a model folder: every tensor accounted for, answers recorded."""

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor, nn

from detection_worker.core.verdict import Calibration
from detection_worker.detectors import folders, registry, self_test, weights
from detection_worker.detectors.base import DetectorCard
from detection_worker.detectors.checkpoint import (
    Checkpoint,
    listed,
    read_checkpoint,
    without_prefix,
)
from detection_worker.detectors.manifest import MANIFEST_NAME, SCHEMA, ModelError
from detection_worker.detectors.published import PUBLISHED, Published
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """How the tensors of a file compare with those of an architecture.

    Attributes:
        matched: Tensors of the right name, shape and type.
        wanted: Tensors that the architecture has.
        missing: Names that the file lacks.
        unexpected: Names that the architecture lacks.
        misshapen: Tensors of another shape or type, each with both.
    """

    matched: int
    wanted: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every tensor has its place and every place its tensor."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        parts = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape or type": self.misshapen,
        }
        told = [f"{len(names)} {what}: {listed(names)}" for what, names in parts.items() if names]
        return "; ".join([f"{self.matched} of {self.wanted} tensors match", *told])


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import made.

    Attributes:
        folder: The model folder.
        report: All tensors matched.
        sha256: Of the new weights file.
        size_bytes: Of the new weights file.
        wrapper: Keys that the weights lay under in the checkpoint.
        prefix: What stood before every name in it.
    """

    folder: Path
    report: KeyReport
    sha256: str
    size_bytes: int
    wrapper: tuple[str, ...]
    prefix: str


def import_checkpoint(
    source: Path,
    *,
    published: Published,
    name: str,
    models_dir: Path,
    license_text: str,
    force: bool = False,
) -> Imported:
    """Convert a checkpoint into a model folder and load that as a worker would.

    Args:
        source: Checkpoint of PyTorch, or safetensors.
        published: What it is a checkpoint of.
        name: Of the new model.
        models_dir: Gets the folder; made if it does not exist.
        license_text: Of the weights, as its maker states it.
        force: Replace a model of that name.

    Raises:
        ModelError: The checkpoint is refused, the name is taken, or nothing can be written
            there. ``models_dir`` is as before then.
    """
    folders.check_free(models_dir, name, force=force)
    checkpoint = read_checkpoint(source, max_bytes=published.max_bytes)
    network = registry.build_network(published.architecture, {}, where=str(source))
    report, prefix = _fill(network, checkpoint, published, source)
    answers = _answers(network.eval(), published, source)
    data = safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()})
    provenance = {
        "made_by": MADE_BY,
        "checkpoint": ascii(source.name)[1:-1],
        "checkpoint_sha256": checkpoint.sha256,
        "paper": published.paper,
    }
    manifest = _manifest(published, name=name, data=data, answers=answers) | {
        "training": provenance,
        "license": license_text,
    }
    with folders.staged(models_dir, name) as fresh:
        (fresh / WEIGHTS_NAME).write_bytes(data)
        (fresh / "MODEL_CARD.md").write_text(_card(manifest, published), encoding="utf-8")
        (fresh / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        _prove(fresh)
    return Imported(
        folder=models_dir / name,
        report=report,
        sha256=manifest["weights"]["sha256"],
        size_bytes=len(data),
        wrapper=checkpoint.wrapper,
        prefix=prefix,
    )


def compare(network: nn.Module, tensors: Mapping[str, Tensor]) -> KeyReport:
    """Return how ``tensors`` compare with what ``network`` has; floats of any width are alike."""
    wanted = {name: _kind(value) for name, value in network.state_dict().items()}
    found = {name: _kind(value) for name, value in tensors.items()}
    shared = wanted.keys() & found.keys()
    misshapen = [n for n in shared if wanted[n] != found[n]]
    return KeyReport(
        matched=len(shared) - len(misshapen),
        wanted=len(wanted),
        missing=tuple(sorted(wanted.keys() - found.keys())),
        unexpected=tuple(sorted(found.keys() - wanted.keys())),
        misshapen=tuple(sorted(f"{n} {found[n]} instead of {wanted[n]}" for n in misshapen)),
    )


def _kind(tensor: Tensor) -> str:
    numbers = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{numbers}{list(tensor.shape)}"


def _fill(
    network: nn.Module, checkpoint: Checkpoint, published: Published, source: Path
) -> tuple[KeyReport, str]:
    tensors, prefix = without_prefix(checkpoint.tensors, network.state_dict().keys())
    report = compare(network, tensors)
    if not report.complete:
        raise ModelError(
            f"{source}: does not fit {published.architecture}: {report}\n"
            f"{_advice(checkpoint, source)}"
        )
    weights.fill(network, tensors, where=str(source))
    return report, prefix


def _advice(checkpoint: Checkpoint, source: Path) -> str:
    for other in PUBLISHED:
        network = registry.build_network(other, {}, where=str(source))
        tensors, _ = without_prefix(checkpoint.tensors, network.state_dict().keys())
        if compare(network, tensors).complete:
            return f"It fits --architecture {other}."
    return f"It fits no known architecture ({', '.join(PUBLISHED)})."


def _answers(network: nn.Module, published: Published, source: Path) -> list[dict[str, Any]]:
    """Return known answers for the manifest, from seeds whose answer does not hang on rounding.

    A network that keeps its best nodes can keep others on another machine when two are as good
    as equal; such a seed would fail the self-test there.
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
            f"{source}: gives every input the same score, or scores that hang on rounding\n"
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


def _manifest(
    published: Published, *, name: str, data: bytes, answers: list[dict[str, Any]]
) -> dict[str, Any]:
    sampling, pooling = published.sampling, published.pooling
    return {
        "schema": SCHEMA,
        "id": name,
        "version": VERSION,
        "modality": published.kind.value,
        "grade": "published",
        "architecture": {"name": published.architecture, "params": {}},
        "weights": {
            "file": WEIGHTS_NAME,
            "format": "safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        },
        "preprocess": {n: getattr(sampling, n) for n in type(sampling).__slots__},
        "output": {
            "activation": "softmax",
            "classes": list(published.classes),
            "fake_index": published.fake_index,
        },
        "aggregate": {n: getattr(pooling, n) for n in type(pooling).__slots__},
        "calibration": {"method": "none"},
        "selftest": answers,
    }


def _prove(fresh: Path) -> None:
    """Load the folder by the workers' own way: digest, names, shapes, values, known answers."""
    loaded = registry.load_detectors(fresh.parent)
    if loaded.problems:
        raise ModelError(loaded.problems[0])


def _card(manifest: Mapping[str, Any], published: Published) -> str:
    training = manifest["training"]
    return f"""# {manifest["id"]}

Published weights of `{published.architecture}`, converted by `{MADE_BY}`. Nobody measured or
calibrated them here: what they were published with holds for the data that they were published
with, and detectors of this kind are often far worse on any other.
**Measure them on your own files before you rely on a score**:

```
detection-worker evaluate --models-dir DIR --real REAL_FILES --fake FAKE_FILES
```

| | |
| --- | --- |
| Described in | {published.paper} |
| Scores | {published.kind.value} |
| Checkpoint | `{training["checkpoint"]}`, sha256 `{training["checkpoint_sha256"]}` |
| Weights here | sha256 `{manifest["weights"]["sha256"]}` |
| Classes | {", ".join(published.classes)} |
| Calibration | none: the score is the softmax of the network |
| Licence of the weights, as given at the import | {" ".join(manifest["license"].split())} |
"""
