"""Forward passes that the calling thread waits for."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic

from detection_worker.core.batching import Slice
from detection_worker.detectors.base import DeviceLost
from detection_worker.pipeline.files.handovers import T
from detection_worker.pipeline.stages.scoring.in_work import (
    Turn,
    blame,
    joined,
    parts_of,
    spread_logits,
)


class BlockingPasses(Generic[T]):
    """Scores batches with ``Detector.logits``.

    Args:
        device: Held during a pass.
        on_batch: Called with the number of units in each.
    """

    def __init__(self, device: threading.Lock, on_batch: Callable[[int], None]) -> None:
        self._device = device
        self._on_batch = on_batch

    def score(self, slices: Sequence[Slice[Turn[T]]]) -> None:
        """Score a batch; one that fails is halved until the culprit, which is blamed, is alone.

        Args:
            slices: Units of one detector; one slice at least.

        Raises:
            DeviceLost: The device answers no more.
        """
        try:
            self._score_all(slices)
        except DeviceLost:
            raise
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; the culprit is isolated
            if len(slices) == 1:
                blame(slices[0].job.file, exc)
                return
        else:
            return
        # Out here the error is gone, and with its frames what the failed pass had computed.
        middle = len(slices) // 2
        self.score(slices[:middle])
        self.score(slices[middle:])

    def _score_all(self, slices: Sequence[Slice[Turn[T]]]) -> None:
        parts = parts_of(slices)
        units = parts[0] if len(parts) == 1 else joined(parts)
        self._on_batch(len(units))
        with self._device:
            logits = slices[0].job.track.detector.logits(units)
        spread_logits(logits, slices)
