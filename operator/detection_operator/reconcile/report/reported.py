"""What was told about one DetectionQueue so far. Losing it is safe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detection_operator.reconcile.report.transitions import Scaled


@dataclass(slots=True)
class Reported:
    """Mutable; only the reconcile of its DetectionQueue touches it.

    Attributes:
        status: The status as last written; None before the first write.
        status_at_s: Monotonic time of that write; None before the first.
        scaled: Changes of replicas that have no event yet.
        idle_worker_readings: Readings in a row of a FIFO queue with waiting messages and idle
            workers.
    """

    status: Mapping[str, Any] | None = None
    status_at_s: float | None = None
    scaled: list[Scaled] = field(default_factory=list)
    idle_worker_readings: int = 0
