"""A Deployment that the API server refuses: what is said of it, and when it is tried again. Pure.

The same request fails again until somebody edits the spec, or mends what forbids it. What runs
already is scaled meanwhile.
"""

from dataclasses import dataclass
from typing import Final

from detection_operator.errors import ClusterError, Forbidden, Rejected
from detection_operator.reconcile.report.status import MESSAGE_MAX, Condition

RETRY_S: Final = 10.0
LONGEST_RETRY_S: Final = 300.0
HTTP_UNAUTHORIZED: Final = 401
_REASONS: Final = {Rejected: "TemplateRejected", Forbidden: "Forbidden"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The newest answer to a Deployment that should exist.

    Attributes:
        generation: Of the spec that asked for it.
        condition: ``Ready``, with the server's words.
        failures: In a row, of this generation.
        retry_at_s: Monotonic time of the next try.
    """

    generation: int
    condition: Condition
    failures: int
    retry_at_s: float


def is_refusal(error: ClusterError) -> bool:
    """Say whether the server answered to the object; who is unknown to it can tell nobody so."""
    return isinstance(error, Rejected | Forbidden) and error.status != HTTP_UNAUTHORIZED


def refusal(
    error: ClusterError, before: Refusal | None, *, generation: int, now_s: float
) -> Refusal:
    """Return what to say and when to try again.

    Args:
        error: What the server answered.
        before: The refusal of this generation before; None when there was none.
        generation: Of the spec.
        now_s: Monotonic seconds.
    """
    failures = before.failures + 1 if before is not None else 1
    wait_s = min(LONGEST_RETRY_S, RETRY_S * 2.0 ** min(failures - 1, 16))
    reason = _REASONS[Rejected if isinstance(error, Rejected) else Forbidden]
    message = f"the API server refuses the Deployment: {error}"[:MESSAGE_MAX]
    return Refusal(
        generation=generation,
        condition=Condition(type="Ready", status="False", reason=reason, message=message),
        failures=failures,
        retry_at_s=now_s + wait_s,
    )


def standing(refused: Refusal | None, generation: int) -> Refusal | None:
    """Return the refusal if it is an answer to this generation."""
    return refused if refused is not None and refused.generation == generation else None
