"""Detectors on CLIP's picture vectors: ``univfd``, ``effort`` and ``clip-b16``.

Ojha et al., Towards Universal Fake Image Detectors that Generalize Across Generative Models, CVPR
2023: a linear layer on ViT-L/14's embedding of the picture.

Yan et al., Orthogonal Subspace Decomposition for Generalizable AI-Generated Image Detection, ICML
2025 ("Effort"): ViT-L/14 whose attention weights were tuned in a small subspace, and a linear
layer on the class token. The tuned part is added to the weights when a file is imported.
"""

from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.networks.image.clip import ClipVision
from detection_worker.detectors.networks.image.pixels import Scale
from detection_worker.detectors.networks.parts import in_parts


class ClipDetector(nn.Module):
    """Scaled pixels, CLIP's tower, one linear layer.

    Args:
        tower: Makes vectors.
        features: Their length.
        outputs: 1 for the log-odds of fake, 2 for the logits of two classes.
        unit_length: Vectors are scaled to length one before the linear layer.
    """

    def __init__(
        self, tower: ClipVision, *, features: int, outputs: int, unit_length: bool = False
    ) -> None:
        super().__init__()
        self.scale = Scale("clip")
        self.visual = tower
        self.unit_length = unit_length
        self.fc = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n, outputs)`` for RGB pixels ``(n, 3, side, side)`` in 0 to 255."""
        logits: Tensor = self.fc(in_parts(self._features, x))
        return logits

    def _features(self, x: Tensor) -> Tensor:
        vectors: Tensor = self.visual(self.scale(x))
        return functional.normalize(vectors, dim=1) if self.unit_length else vectors


def build_univfd(
    *,
    width: int = 1024,
    layers: int = 24,
    patch_px: int = 14,
    side_px: int = 224,
    embedding: int = 768,
) -> ClipDetector:
    """Return an untrained UnivFD for the registry: one output; the sizes are ViT-L/14's.

    Args:
        width: See ``ClipVision``.
        layers: See ``ClipVision``.
        patch_px: See ``ClipVision``.
        side_px: See ``ClipVision``.
        embedding: See ``ClipVision``.
    """
    tower = ClipVision(
        width=width, layers=layers, patch_px=patch_px, side_px=side_px, embedding=embedding
    )
    return ClipDetector(tower, features=embedding, outputs=1)


def build_effort(
    *, width: int = 1024, layers: int = 24, patch_px: int = 14, side_px: int = 224
) -> ClipDetector:
    """Return an untrained Effort for the registry: real, fake; the sizes are ViT-L/14's.

    Args:
        width: See ``ClipVision``.
        layers: See ``ClipVision``.
        patch_px: See ``ClipVision``.
        side_px: See ``ClipVision``.
    """
    tower = ClipVision(width=width, layers=layers, patch_px=patch_px, side_px=side_px, embedding=0)
    return ClipDetector(tower, features=width, outputs=2)


def build_b16(
    *,
    width: int = 768,
    layers: int = 12,
    patch_px: int = 16,
    side_px: int = 224,
    embedding: int = 512,
) -> ClipDetector:
    """Return an untrained linear layer on unit vectors of ViT-B/16: one output.

    Args:
        width: See ``ClipVision``.
        layers: See ``ClipVision``.
        patch_px: See ``ClipVision``.
        side_px: See ``ClipVision``.
        embedding: See ``ClipVision``.
    """
    tower = ClipVision(
        width=width, layers=layers, patch_px=patch_px, side_px=side_px, embedding=embedding
    )
    return ClipDetector(tower, features=embedding, outputs=1, unit_length=True)
