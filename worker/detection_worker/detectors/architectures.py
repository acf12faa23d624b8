"""Which networks a manifest may name, and how an untrained one is made."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from detection_worker.detectors.model_folder.manifest import ModelError

if TYPE_CHECKING:
    import torch

ARCHITECTURES: Final[Mapping[str, str]] = {
    "aasist": "detection_worker.detectors.networks.audio.aasist:build",
    "aasist-l": "detection_worker.detectors.networks.audio.aasist:build_light",
    "audio_lfb": "detection_worker.detectors.networks.audio.audio_lfb:build",
    "clip-b16": "detection_worker.detectors.networks.image.clip_heads:build_b16",
    "efficientnet-b4": "detection_worker.detectors.networks.image.efficientnet:build",
    "effort": "detection_worker.detectors.networks.image.clip_heads:build_effort",
    "frozen-head": "detection_worker.detectors.frozen_head:build",
    "image_residual": "detection_worker.detectors.networks.image.image_residual:build",
    "lfcc-lcnn": "detection_worker.detectors.networks.audio.lcnn:build",
    "npr": "detection_worker.detectors.networks.image.npr:build",
    "rawnet2": "detection_worker.detectors.networks.audio.rawnet2:build",
    "univfd": "detection_worker.detectors.networks.image.clip_heads:build_univfd",
    "xception": "detection_worker.detectors.networks.image.xception:build",
    "xlsr-aasist": "detection_worker.detectors.networks.audio.xlsr_aasist:build",
}
"""Name in a manifest to ``module:factory``; imported when a model asks for it."""
REMOVED: Final = frozenset({"meso4", "mesoinception4"})
"""Architectures of earlier versions, whose model folders no longer load."""


def build_network(name: str, params: Mapping[str, Any], *, where: str) -> "torch.nn.Module":
    """Return an untrained network of a registered architecture.

    Raises:
        ModelError: If there is no such architecture or it does not take these parameters.
    """
    target = ARCHITECTURES.get(name)
    if name in REMOVED:
        raise ModelError(
            f"{where}: architecture.name: {name!r} is not supported any more\n"
            "Import another model of faces, for example xception, or one in ONNX's format."
        )
    if target is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelError(f"{where}: architecture.name: {name!r} is unknown; known: {known}")
    module, _, factory = target.partition(":")
    try:
        network: torch.nn.Module = getattr(importlib.import_module(module), factory)(**params)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise ModelError(f"{where}: architecture.params: {exc}") from exc
    return network
