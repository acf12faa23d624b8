"""One logit for a media object from the logits of its crops or windows."""

import numpy as np
from numpy.typing import NDArray

from detection_worker.core.verdict import Calibration, Pooling, judge


def pooled(logits: NDArray[np.float32], frame: list[int], pooling: Pooling) -> float:
    """Return the logit of one media object before calibration, as the worker pools it."""
    verdict = judge(
        logits.tolist(), frame, pooling=pooling, calibration=Calibration(), threshold=0.5
    )
    score = min(max(verdict.score, 1e-9), 1 - 1e-9)
    return float(np.log(score / (1 - score)))
