"""Where in a picture a network's score comes from."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from detection_worker.detectors.torch_detector import TorchDetector, fake_logit

BLUR_PX: Final = 9
"""Single gradients are noise; what matters is where there are many."""
CHUNK_UNITS: Final = 8
"""Gradients keep every layer in memory."""


def saliency(detector: TorchDetector, units: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how strongly each pixel moves the score, shape ``(n, height, width)``, >= 0.

    The absolute gradient of the logit by the input, largest channel (Simonyan et al. 2014),
    blurred. The values of one detector are comparable with each other and with nothing else.

    Args:
        detector: That scores the units.
        units: RGB crops as for ``TorchDetector.logits``, shape ``(n, height, width, 3)``.
    """
    parts = [
        _gradients(detector, units[start : start + CHUNK_UNITS])
        for start in range(0, len(units), CHUNK_UNITS)
    ]
    return np.concatenate(parts)


def _gradients(detector: TorchDetector, units: NDArray[np.uint8]) -> NDArray[np.float32]:
    module, device = detector.network
    pixels = torch.from_numpy(np.array(units, dtype=np.float32)).permute(0, 3, 1, 2)
    x = pixels.to(device).requires_grad_()
    with torch.enable_grad():
        total = fake_logit(module(x).float(), fake_index=detector.fake_index).sum()
        (gradient,) = torch.autograd.grad(total, x)
    strength = gradient.abs().amax(dim=1, keepdim=True)
    blurred = functional.avg_pool2d(strength, BLUR_PX, stride=1, padding=BLUR_PX // 2)
    return blurred[:, 0].cpu().numpy().astype(np.float32)
