"""From a published checkpoint to a model folder: every tensor accounted for, answers recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from detection_worker.detectors import architectures
from detection_worker.detectors.importing import clip_files, package, video_use
from detection_worker.detectors.importing.checkpoint import Checkpoint, read_checkpoint
from detection_worker.detectors.importing.matching import KeyReport, Match, best_match
from detection_worker.detectors.importing.package import MADE_BY
from detection_worker.detectors.importing.published import Published
from detection_worker.detectors.model_folder import folders, weights
from detection_worker.detectors.model_folder.manifest import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import made.

    Attributes:
        folder: The model folder.
        report: How the tensors matched: all of them.
        sha256: Digest of the new weights file, lower-case hex.
        size_bytes: Length of the new weights file.
        wrapper: Keys that the weights lay under in the checkpoint.
        prefix: What stood before every name in it.
        layout: How the checkpoint names its tensors.
        notes: Human-readable notes on changed names and shapes.
    """

    folder: Path
    report: KeyReport
    sha256: str
    size_bytes: int
    wrapper: tuple[str, ...]
    prefix: str
    layout: str
    notes: tuple[str, ...]


def import_checkpoint(
    source: Path,
    *,
    published: Sequence[Published],
    name: str,
    models_dir: Path,
    license_text: str,
    backbone: Path | None = None,
    video: bool = False,
    force: bool = False,
) -> Imported:
    """Convert a checkpoint into a model folder and load that as a worker would.

    Args:
        source: Checkpoint of PyTorch, or safetensors.
        published: What it may be a checkpoint of, in order of preference.
        name: Name of the new model.
        models_dir: Gets the folder; made if it does not exist.
        license_text: License of the weights, as published.
        backbone: File with the network below, for checkpoints of a last layer alone.
        video: Make a video model too that scores frames with it; see ``video_use``.
        force: Replace models of those names.

    Raises:
        ModelError: The checkpoint is refused, the name is taken, or nothing can be written
            there. ``models_dir`` is as before then.
    """
    names = video_use.names(name, published[0], video=video)
    for one in names:
        folders.check_free(models_dir, one, force=force)
    checkpoint = _read(source, published, backbone)
    match = best_match(checkpoint, published, where=str(source))
    network = _filled(match, source)
    answers = package.known_answers(network, match.published, source)
    data = safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()})
    manifest = package.manifest_of(match.published, name=name, data=data, answers=answers) | {
        "training": _provenance(match, checkpoint, source),
        "license": license_text,
    }
    card = _card(manifest, match.published)
    package.write(models_dir, names, manifest, card=card, data=data)
    return Imported(
        folder=models_dir / name,
        report=match.report,
        sha256=manifest["weights"]["sha256"],
        size_bytes=len(data),
        wrapper=checkpoint.wrapper,
        prefix=match.prefix,
        layout=match.published.layout.name,
        notes=match.notes,
    )


def _read(source: Path, published: Sequence[Published], backbone: Path | None) -> Checkpoint:
    max_bytes = max(one.max_bytes for one in published)
    reader = clip_files.READERS.get(published[0].architecture)
    if reader is not None:
        return reader(source, backbone=backbone, max_bytes=max_bytes)
    if backbone is not None:
        raise ModelError(f"{published[0].architecture} has no backbone\nLeave --backbone out.")
    return read_checkpoint(source, max_bytes=max_bytes)


def _provenance(match: Match, checkpoint: Checkpoint, source: Path) -> dict[str, Any]:
    return {
        "made_by": MADE_BY,
        "checkpoint": ascii(source.name)[1:-1],
        "checkpoint_sha256": checkpoint.sha256,
        "layout": match.published.layout.name,
        "changes": list(match.notes),
        "paper": match.published.paper,
    }


def _filled(match: Match, source: Path) -> nn.Module:
    published = match.published
    network = architectures.build_network(
        published.architecture, published.params, where=str(source)
    )
    weights.fill(network, match.tensors, where=str(source))
    return network.eval()


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
| Names in it | {"; ".join([f"layout {training['layout']}", *training["changes"]])} |
| Weights here | sha256 `{manifest["weights"]["sha256"]}` |
| Classes | {", ".join(published.classes)} |
| Input | {package.told(manifest["preprocess"])} |
| Calibration | none: the score is the {published.activation} of the network |
| Licence of the weights, as given at the import | {" ".join(manifest["license"].split())} |
"""
