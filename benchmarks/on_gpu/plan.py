"""What is measured, and the detectors that it is measured with."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Row = dict[str, Any]
BATCHES: Final = (1, 4, 16, 64, 256)
QUICK_BATCHES: Final = (1, 4)
CROP_PX: Final = {
    "clip-b16": 224,
    "efficientnet-b4": 380,
    "effort": 224,
    "image_residual": 128,
    "npr": 256,
    "univfd": 224,
    "xception": 299,
}
"""Side of the pictures that a network was trained on."""
WINDOW: Final = {
    "aasist": 64_600,
    "aasist-l": 64_600,
    "audio_lfb": 64_000,
    "lfcc-lcnn": 64_600,
    "rawnet2": 64_600,
    "xlsr-aasist": 64_600,
}
"""Samples of the sound that a network was trained on."""
QUICK_NETWORKS: Final = ("image_residual", "audio_lfb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        device: ``cpu`` or ``cuda:N``.
        quick: Little of everything, to show that it runs.
    """

    device: str
    quick: bool

    @property
    def batches(self) -> tuple[int, ...]:
        """Units of a pass."""
        return QUICK_BATCHES if self.quick else BATCHES

    @property
    def networks(self) -> tuple[str, ...]:
        """Architectures."""
        return QUICK_NETWORKS if self.quick else (*CROP_PX, *WINDOW)

    @property
    def cuda(self) -> bool:
        """It is a GPU."""
        return self.device.startswith("cuda")


def untrained(name: str, plan: Plan) -> Any:
    """Return a detector of an architecture, its weights drawn at random."""
    import torch

    from detection_contract.media_types import MediaKind
    from detection_worker.core.sampling import AudioSampling, ImageSampling
    from detection_worker.core.verdict import Calibration, Pooling
    from detection_worker.detectors.architectures import build_network
    from detection_worker.detectors.base import DetectorCard
    from detection_worker.detectors.torch_detector import TorchDetector

    sound = name in WINDOW
    card = DetectorCard(
        name=name,
        version="0",
        sha256="0" * 64,
        grade="demo",
        kind=MediaKind.AUDIO if sound else MediaKind.IMAGE,
        sampling=AudioSampling(window=WINDOW[name])
        if sound
        else ImageSampling(crop_px=CROP_PX[name]),
        pooling=Pooling(),
        calibration=Calibration(),
    )
    # Drawn where they are used: hundreds of millions of weights take seconds on one core.
    with torch.device(plan.device):
        module = build_network(name, {}, where=name)
    return TorchDetector(card=card, module=module, device=plan.device)


def units_of(detector: Any, count: int, where: Any) -> Any:
    """Return equal units of a detector as a tensor on a device."""
    import torch

    from detection_worker.detectors.self_test import unit

    one = unit(detector.card.sampling, seed=1)
    return torch.from_numpy(np.repeat(one, count, axis=0)).to(where)


def detectors_of(plan: Plan) -> list[Any]:
    """Return the models in the package, loaded and prepared as a worker does."""
    from detection_worker.detectors.model_folder.listing import bundled_models_dir
    from detection_worker.detectors.registry import load_detectors
    from detection_worker.detectors.torch_detector import TorchDetector

    loaded = load_detectors(bundled_models_dir(), device=plan.device)
    return [d for d in loaded.by_kind.values() if isinstance(d, TorchDetector)]
