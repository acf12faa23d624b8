"""A Deployment that the API server rejects: what the status says, and when to retry. Pure.

The same request fails again until a user edits the spec or an administrator removes what forbids
it. Pods that run already are scaled in the meantime.
"""

from dataclasses import dataclass
from typing import Final

from detection_operator.errors import ClusterError, Forbidden, Rejected
from detection_operator.reconcile.report.conditions import Condition
from detection_operator.spec.status import MESSAGE_MAX

RETRY_S: Final = 10.0
LONGEST_RETRY_S: Final = 300.0
HTTP_UNAUTHORIZED: Final = 401
_REASONS: Final = {Rejected: "TemplateRejected", Forbidden: "Forbidden"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedDeployment:
    """The newest rejection of a Deployment that should exist.

    Attributes:
        generation: Generation of the spec that asked for it.
        condition: ``Ready``, with the API server's message.
        failures: Rejections of this generation in a row.
        retry_at_s: Monotonic time of the next try.
    """

    generation: int
    condition: Condition
    failures: int
    retry_at_s: float


def is_rejection(error: ClusterError) -> bool:
    """Say whether the server answered to the object.

    Not with 401: then the operator's own status would not arrive either.
    """
    return isinstance(error, Rejected | Forbidden) and error.status != HTTP_UNAUTHORIZED


def rejected_deployment(
    error: ClusterError, before: RejectedDeployment | None, *, generation: int, now_s: float
) -> RejectedDeployment:
    """Return what to report and when to retry.

    Args:
        error: Answer of the API server.
        before: The previous rejection of this generation; None if this is the first.
        generation: Generation of the spec.
        now_s: Monotonic seconds.
    """
    failures = before.failures + 1 if before is not None else 1
    wait_s = min(LONGEST_RETRY_S, RETRY_S * 2.0 ** min(failures - 1, 16))
    reason = _REASONS[Rejected if isinstance(error, Rejected) else Forbidden]
    message = f"the API server refuses the Deployment: {error}"[:MESSAGE_MAX]
    return RejectedDeployment(
        generation=generation,
        condition=Condition(type="Ready", status="False", reason=reason, message=message),
        failures=failures,
        retry_at_s=now_s + wait_s,
    )


def for_generation(
    rejected: RejectedDeployment | None, generation: int
) -> RejectedDeployment | None:
    """Return the rejection if it is one of this generation."""
    return rejected if rejected is not None and rejected.generation == generation else None
