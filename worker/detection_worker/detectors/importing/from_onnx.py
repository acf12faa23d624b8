"""From an ONNX file to a model folder. The file is copied unchanged."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import nn

from detection_worker.detectors.importing import package, video_use
from detection_worker.detectors.importing.checkpoint import file_bytes
from detection_worker.detectors.importing.published import Published
from detection_worker.detectors.model_folder import folders
from detection_worker.detectors.model_folder.manifest import ONNX, ModelError
from detection_worker.detectors.onnx import network as onnx_network

FILE_NAME: Final = "model.onnx"


def import_onnx(
    source: Path,
    *,
    published: Published,
    name: str,
    models_dir: Path,
    license_text: str,
    video: bool = False,
    force: bool = False,
) -> Mapping[str, Any]:
    """Put an ONNX file into a model folder and load that as a worker would; return its manifest.

    Args:
        source: The file.
        published: What it scores, and how.
        name: Name of the new model.
        models_dir: Gets the folder; made if it does not exist.
        license_text: License of the weights, as published.
        video: Make a video model too that scores frames with it; see ``video_use``.
        force: Replace models of those names.

    Raises:
        ModelError: The file is refused, does not fit the options, the name is taken, or
            nothing can be written there. ``models_dir`` is as before then.
    """
    names = video_use.names(name, published, video=video)
    for one in names:
        folders.check_free(models_dir, one, force=force)
    data = file_bytes(source, max_bytes=published.max_bytes)
    network = onnx_network.build(data, published.params, where=source)
    manifest = package.manifest_of(
        replace(published, activation=network.activation),
        name=name,
        data=data,
        answers=_answers(network, published, source),
        file=FILE_NAME,
        file_format=ONNX,
    ) | {"training": _provenance(source, data), "license": license_text}
    package.write(models_dir, names, manifest, card=_card(manifest), data=data)
    return manifest


def _answers(network: nn.Module, published: Published, source: Path) -> list[dict[str, Any]]:
    try:
        return package.known_answers(network, published, source)
    except RuntimeError as exc:
        raise ModelError(f"{source}: {exc}\nSay what it was trained on, or export it so.") from exc


def _provenance(source: Path, data: bytes) -> dict[str, Any]:
    return {
        "made_by": package.MADE_BY,
        "checkpoint": ascii(source.name)[1:-1],
        "checkpoint_sha256": hashlib.sha256(data).hexdigest(),
    }


def _card(manifest: Mapping[str, Any]) -> str:
    scale = manifest["architecture"]["params"].get("scale", onnx_network.UNSCALED)
    return f"""# {manifest["id"]}

A network in ONNX's format, taken as it was by `{package.MADE_BY}`. What it scores, the order of
its classes and its preprocessing are what was said at the import: nothing in the file proves them.
Nobody measured or calibrated it here.
**Measure it on your own files before you rely on a score**:

```
detection-worker evaluate --models-dir DIR --real REAL_FILES --fake FAKE_FILES
```

| | |
| --- | --- |
| Scores | {manifest["modality"]} |
| File | `{manifest["training"]["checkpoint"]}`, sha256 `{manifest["weights"]["sha256"]}` |
| Classes | {", ".join(manifest["output"]["classes"])} |
| Input | {package.told(manifest["preprocess"])}, scale {scale} |
| Calibration | none |
| Licence of the weights, as given at the import | {" ".join(manifest["license"].split())} |
"""
