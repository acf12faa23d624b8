"""Fault injection by operation: latency, errors, truncated, lost or stalled responses."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Literal, get_args

FaultKind = Literal[
    "latency",
    "error",
    "throttle",
    "access_denied",
    "not_found",
    "kms_denied",
    "wrong_region",
    "conflict",
    "clock_skew",
    "partial",
    "reset",
    "drop_response",
    "truncate",
    "stall",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    ``latency`` waits before the operation. ``error``, ``throttle``, ``access_denied``,
    ``not_found`` (bucket, queue, topic or bus), ``kms_denied``, ``wrong_region`` (a bucket's),
    ``conflict`` (of conditional writes) and ``clock_skew`` refuse it in the words of its service,
    ``reset`` resets the connection, all without carrying it out. ``partial`` lets the first
    ``entries`` of a batch fail, and carries out the others. ``drop_response`` carries it
    out and closes the connection without an answer. ``truncate`` announces the whole answer and
    closes after a part of it; ``stall`` pauses inside it.

    Attributes:
        operation: Pattern of ``sqs.ReceiveMessage``, ``s3.GetObject``, ``sts.*``, ``callback.*``.
        kind: See above.
        rate: Share of the matching requests that it hits, 0 to 1.
        count: Hits after which it is spent; None for no end.
        seconds: Duration of ``latency`` and ``stall``.
        seconds_max: If set, the time is drawn evenly between ``seconds`` and this.
        code: Error code in place of the service's usual one.
        status: HTTP status in place of the usual one.
        after_bytes: Bytes of the body before ``truncate`` or ``stall`` begins; None: half.
        path: Pattern of the request's path as sent, so that one object can be hit.
        entries: How many entries of a batch ``partial`` hits.
    """

    operation: str
    kind: FaultKind
    rate: float = 1.0
    count: int | None = None
    seconds: float = 0.0
    seconds_max: float | None = None
    code: str | None = None
    status: int | None = None
    after_bytes: int | None = None
    path: str = "*"
    entries: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"kind is {self.kind!r}; allowed: {', '.join(get_args(FaultKind))}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is {self.rate}; allowed: 0 to 1")
        if self.seconds < 0 or (self.seconds_max or self.seconds) < self.seconds:
            raise ValueError("seconds must be 0 or more, and seconds_max no less")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Fault":
        """Read a fault as ``to_json`` wrote it.

        Raises:
            ValueError: Unknown or missing fields, or values out of range.
        """
        unknown = set(document) - {f.name for f in fields(cls)}
        if unknown or not {"operation", "kind"} <= set(document):
            raise ValueError(f"unknown fields {sorted(unknown)}, or no operation or kind")
        return cls(**document)

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What happens to one request.

    Attributes:
        delay_s: Wait before the operation.
        fault: The fault other than latency that hit, if any.
        stall_s: Length of a stall.
    """

    delay_s: float = 0.0
    fault: Fault | None = None
    stall_s: float = 0.0


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None


class FaultPlan:
    """The faults in force. Not thread-safe.

    Args:
        seed: Seed of the random choices, so that a run can be repeated.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._random = Random(seed)  # noqa: S311 - must repeat, not be secret
        self._armed: list[_Armed] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._armed.append(_Armed(fault, fault.count))

    def clear(self) -> None:
        """Lift every fault."""
        self._armed.clear()

    def faults(self) -> list[Fault]:
        """Return the faults that are not spent."""
        return [armed.fault for armed in self._armed]

    def draw(self, operation: str, path: str) -> Injection | None:
        """Return what happens to a request; None for nothing.

        Latencies add up; of the other faults the first that hits counts.
        """
        if not self._armed:
            return None
        delay_s = 0.0
        chosen: Fault | None = None
        for armed in tuple(self._armed):
            fault = armed.fault
            if (fault.kind != "latency" and chosen) or not self._hits(armed, operation, path):
                continue
            if fault.kind == "latency":
                delay_s += self._seconds(fault)
            else:
                chosen = fault
        if chosen is None and delay_s == 0:
            return None
        stall_s = self._seconds(chosen) if chosen and chosen.kind == "stall" else 0.0
        return Injection(delay_s=delay_s, fault=chosen, stall_s=stall_s)

    def _hits(self, armed: _Armed, operation: str, path: str) -> bool:
        fault = armed.fault
        if not (fnmatchcase(operation, fault.operation) and fnmatchcase(path, fault.path)):
            return False
        if fault.rate < 1 and self._random.random() >= fault.rate:
            return False
        if armed.left is not None:
            armed.left -= 1
            if armed.left <= 0:
                self._armed.remove(armed)
        return True

    def _seconds(self, fault: Fault) -> float:
        if fault.seconds_max is None:
            return fault.seconds
        return self._random.uniform(fault.seconds, fault.seconds_max)
