"""A detector that runs a torch network; the only place of the worker that touches a device."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from detection_worker.core.batch_size import halved
from detection_worker.core.sampling import frames_per_unit, unit_shape
from detection_worker.detectors.base import DetectorCard, DevicePasses, Precision, Units
from detection_worker.detectors.device_errors import (
    give_back_memory,
    is_out_of_memory,
    lost_device_told,
)

log = logging.getLogger(__name__)

CHUNK_UNITS = 64
"""Most units of one forward pass, of clips most frames unless one has more: bounds memory
whatever the caller hands over."""
_HALF: Final = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class TorchDetector:
    """Scores units with a network. Not thread-safe: one thread owns the device.

    A pass that finds no memory is tried again in halves; later ones are no larger.

    Args:
        card: Identity of the detector.
        module: Maps pixels ``(n, 3, h, w)``, clips ``(n, frames, 3, h, w)`` or sound
            ``(n, samples)`` to ``(n,)``, ``(n, 1)`` or ``(n, 2)``; normalises its input itself, so
            that training and inference cannot differ.
        fake_index: Class that means fake; see ``Manifest.fake_index``.
        device: Where it runs.
        precision: Half precision autocasts; only after a golden set showed that no score moves.

    Attributes:
        batch_units: Most units of one pass.
        passes: The asynchronous form, if it has one; see ``HasPasses``.
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
        self._card = replace(card, precision=precision)
        self._fake_index = fake_index
        self._device = torch.device(device)
        self._shape = unit_shape(card.sampling)
        self.batch_units = max(1, CHUNK_UNITS // frames_per_unit(card.sampling))
        self.passes: DevicePasses | None = None
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

    def use_precision(self, precision: Precision) -> None:
        """Compute with another precision from now on."""
        self._card = replace(self._card, precision=precision)

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one logit of "fake" for each unit, shape ``(n,)``, float32, uncalibrated.

        Args:
            units: As in ``DecodedMedia.units``, ``n >= 1``.

        Raises:
            ValueError: If the units are not of the shape and type of the card's sampling.
            DeviceLost: The device answers no more.
        """
        self.check(units)
        with lost_device_told(self._device):
            return np.concatenate([*self._parts(units)])

    def check(self, units: Units) -> None:
        """Check units as ``logits`` does.

        Raises:
            ValueError: If the units are not of the shape and type of the card's sampling.
        """
        wanted = np.float32 if len(self._shape) == 1 else np.uint8
        if units.dtype != wanted or units.shape[1:] != self._shape or len(units) < 1:
            raise ValueError(
                f"{self._card.name} wants {np.dtype(wanted)} units of shape {self._shape}, "
                f"got {units.dtype} {units.shape}"
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of units that lie on the device, float32 ``(n,)``, there.

        Args:
            x: Units as ``logits`` takes them: pixels are ``(n, h, w, 3)``.
        """
        if x.ndim > 2:
            # A view: rows of RGB pixels are what torch calls channels_last.
            x = x.movedim(-1, -3)
        half = _HALF.get(self._card.precision)
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=half, enabled=half is not None),
        ):
            outputs = self._module(x)
            return fake_logit(outputs.float(), fake_index=self._fake_index)

    def learn_no_memory(self, units: int) -> None:
        """Note that a pass of so many units found no memory: later ones are smaller."""
        self.batch_units = min(self.batch_units, halved(units))
        give_back_memory(self._device)
        log.warning(
            "%s: no memory for %d units in one pass, at most %d from now on",
            self._card.name,
            units,
            self.batch_units,
        )

    def _parts(self, units: Units) -> Iterator[NDArray[np.float32]]:
        start = 0
        while start < len(units):
            part = units[start : start + self.batch_units]
            try:
                logits = self._pass(part)
            except Exception as exc:
                if len(part) == 1 or not is_out_of_memory(exc):
                    raise
                # What the failed pass had computed is held by the exception until here.
                logits = None
            if logits is None:
                self.learn_no_memory(len(part))
            else:
                start += len(part)
                yield logits

    def _pass(self, units: Units) -> NDArray[np.float32]:
        # Units may lie in read-only shared memory, which torch refuses to wrap silently.
        x = torch.from_numpy(np.require(units, requirements=["C", "W"]))
        there = x.to(self._device)
        logits = self.forward(there).cpu().numpy()
        if self._card.precision != "float32" and not np.isfinite(logits).all():
            logits = self._exactly(there)
        return logits.astype(np.float32, copy=False)

    def _exactly(self, units: torch.Tensor) -> NDArray[np.float32]:
        """Score units that overflow in half precision."""
        used = self._card.precision
        self.use_precision("float32")
        try:
            return self.forward(units).cpu().numpy()
        finally:
            self.use_precision(used)


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
