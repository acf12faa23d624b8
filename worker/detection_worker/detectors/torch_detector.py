"""A detector that runs a torch network; the only place of the worker that touches a device."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from detection_worker.core.sampling import frames_per_unit, unit_shape
from detection_worker.detectors.base import DetectorCard

CHUNK_UNITS = 64
"""Most units of one forward pass, of clips most frames unless one has more: bounds memory
whatever the caller hands over."""

Precision = Literal["float32", "bfloat16"]


class TorchDetector:
    """Scores units with a network. Not thread-safe: one thread owns the device.

    Args:
        card: Identity of the detector.
        module: Maps pixels ``(n, 3, h, w)``, clips ``(n, frames, 3, h, w)`` or sound
            ``(n, samples)`` to ``(n,)``, ``(n, 1)`` or ``(n, 2)``; normalises its input itself, so
            that training and inference cannot differ.
        fake_index: Class that means fake; see ``Manifest.fake_index``.
        device: Where it runs.
        precision: ``bfloat16`` autocasts; only after a golden set showed that no score moves.
    """

    def __init__(
        self,
        *,
        card: DetectorCard,
        module: torch.nn.Module,
        fake_index: int = 1,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self._card = card
        self._fake_index = fake_index
        self._device = torch.device(device)
        self._precision = precision
        self._shape = unit_shape(card.sampling)
        self._chunk = max(1, CHUNK_UNITS // frames_per_unit(card.sampling))
        self._module = module.to(self._device).eval()
        if len(self._shape) == 3:
            self._module = self._module.to(memory_format=torch.channels_last)

    @property
    def card(self) -> DetectorCard:
        """Identity of this detector."""
        return self._card

    @property
    def network(self) -> tuple[torch.nn.Module, torch.device]:
        """The network and its device, for code that explains a score."""
        return self._module, self._device

    @property
    def fake_index(self) -> int:
        """Class of the network's output that means fake."""
        return self._fake_index

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one logit of "fake" for each unit, shape ``(n,)``, float32, uncalibrated.

        Args:
            units: As in ``DecodedMedia.units``, ``n >= 1``.

        Raises:
            ValueError: If the units are not of the shape and type of the card's sampling.
        """
        self._check(units)
        parts = [
            self._forward(units[start : start + self._chunk])
            for start in range(0, len(units), self._chunk)
        ]
        return np.concatenate(parts)

    def _check(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> None:
        wanted = np.float32 if len(self._shape) == 1 else np.uint8
        if units.dtype != wanted or units.shape[1:] != self._shape or len(units) < 1:
            raise ValueError(
                f"{self._card.name} wants {np.dtype(wanted)} units of shape {self._shape}, "
                f"got {units.dtype} {units.shape}"
            )

    def _forward(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        # Units may lie in read-only shared memory, which torch refuses to wrap silently.
        x = torch.from_numpy(np.require(units, requirements=["C", "W"]))
        if self._device.type == "cuda":
            x = x.pin_memory().to(self._device, non_blocking=True)
        if x.ndim > 2:
            # A view: rows of RGB pixels are what torch calls channels_last.
            x = x.movedim(-1, -3)
        half = self._precision == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=half),
        ):
            outputs = self._module(x)
        logits = fake_logit(outputs.float(), fake_index=self._fake_index)
        return logits.cpu().numpy().astype(np.float32, copy=False)


def fake_logit(outputs: torch.Tensor, *, fake_index: int) -> torch.Tensor:
    """Return the log-odds of "fake", ``(n,)``.

    Args:
        outputs: ``(n,)`` or ``(n, 1)``: log-odds of class 1; ``(n, 2)``: softmax logits.
        fake_index: Class that means fake.
    """
    if outputs.ndim == 2 and outputs.shape[1] == 2:
        return outputs[:, fake_index] - outputs[:, 1 - fake_index]
    flat = outputs.reshape(len(outputs))
    return flat if fake_index == 1 else -flat
