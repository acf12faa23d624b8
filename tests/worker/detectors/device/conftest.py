"""Small networks on the CPU, whose streams and events are torch's own that do nothing."""

from collections.abc import Callable

import pytest
import torch

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, Sampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard
from detection_worker.detectors.torch_detector import TorchDetector

CPU = torch.device("cpu")


class Network(torch.nn.Module):
    """One linear layer over the mean of each unit; notes how many units it was given.

    Attributes:
        no_memory_above: Units of a pass that find no memory.
        passes: Units of each pass.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.no_memory_above = 1000
        self.passes: list[int] = []
        self.layer = torch.nn.Linear(features, 1)
        with torch.no_grad():
            self.layer.weight.fill_(0.01)
            self.layer.bias.fill_(-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes.append(len(x))
        if len(x) > self.no_memory_above:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        pooled = x.float().mean(dim=(2, 3)) if x.ndim == 4 else x.reshape(len(x), 4, -1).mean(2)
        logits: torch.Tensor = self.layer(pooled)
        return logits


Make = Callable[..., tuple[TorchDetector, Network]]


@pytest.fixture
def make() -> Make:
    """Make a detector of pictures or sound, and its network."""

    def build(*, sound: bool = False) -> tuple[TorchDetector, Network]:
        sampling: Sampling = (
            AudioSampling(window=64, hop=32) if sound else ImageSampling(crop_px=8)
        )
        network = Network(4 if sound else 3)
        card = DetectorCard(
            name="tiny",
            version="1",
            sha256="0" * 64,
            grade="demo",
            kind=MediaKind.AUDIO if sound else MediaKind.IMAGE,
            sampling=sampling,
            pooling=Pooling(),
            calibration=Calibration(),
        )
        return TorchDetector(card=card, module=network), network

    return build
