"""Replicas that the API server refuses to write: what it takes, and when to try more. Pure.

An admission policy, a webhook or the role may forbid them. What is refused again and again is no
demand: in a pool others have the rest meanwhile. During a roll-out each Deployment may be refused
something, the new one more and the old one fewer replicas: each is tried again on its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from detection_operator.errors import ClusterError
from detection_operator.reconcile.act.rejected_deployment import (
    LONGEST_RETRY_S,
    RETRY_S,
    is_rejection,
)
from detection_operator.reconcile.observe.fleet import Group
from detection_operator.scaling.observation import Refusal
from detection_operator.spec.status import MESSAGE_MAX

_OF_WEBHOOKS: Final = ("denied the request", "failed calling webhook")
"""A webhook refuses with any status that it likes; one that does not answer is a 500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedScale:
    """The newest refusal to write the replicas of a Deployment.

    Attributes:
        why: The API server's message.
        most: Replicas that it took: those that there were, or more since then.
        step: Replicas that the next try adds to these.
        fewer: It refused to remove some.
        failures: Refusals in a row.
        retry_at_s: Monotonic time of the next try.
    """

    why: str
    most: int
    step: int = 1
    fewer: bool = False
    failures: int = 1
    retry_at_s: float


def is_refusal(error: ClusterError) -> bool:
    """Say whether the server, or what it asks, answered to the number of replicas."""
    return is_rejection(error) or any(words in str(error) for words in _OF_WEBHOOKS)


def refused_scale(
    error: ClusterError,
    before: RefusedScale | None,
    item: Group,
    *,
    replicas: int,
    now_s: float,
) -> RefusedScale:
    """Return what to remember of a refusal.

    Args:
        error: Answer of the API server.
        before: Its previous refusal; None if this is the first.
        item: The Deployment as it is.
        replicas: Replicas that were refused.
        now_s: Monotonic seconds.
    """
    failures = before.failures + 1 if before is not None else 1
    # What was taken once may be refused now.
    taken = before.most if before is not None and replicas > before.most else 0
    return RefusedScale(
        why=str(error)[:MESSAGE_MAX],
        most=max(item.replicas, taken),
        fewer=replicas < item.replicas,
        failures=failures,
        retry_at_s=now_s + min(LONGEST_RETRY_S, RETRY_S * 2.0 ** min(failures - 1, 16)),
    )


def worth_trying(known: RefusedScale | None, item: Group, replicas: int, *, now_s: float) -> int:
    """Return the replicas to write now in place of ``replicas``; maybe what there is already."""
    if known is None:
        return replicas
    due = now_s >= known.retry_at_s
    if replicas < item.replicas:
        return replicas if due or not known.fewer else item.replicas
    if known.fewer:
        return replicas
    return min(replicas, max(item.replicas, _most(known, due=due)))


def after_success(
    known: RefusedScale | None, item: Group, replicas: int, *, now_s: float
) -> RefusedScale | None:
    """Return what to remember once ``replicas`` were written; twice as many are tried next."""
    if known is None:
        return None
    if replicas < item.replicas:
        return None if known.fewer else known
    if known.fewer or replicas <= known.most:
        return known
    return replace(known, most=replicas, step=2 * known.step, failures=0, retry_at_s=now_s)


def still_known(
    known: Mapping[str, RefusedScale], *, capped: bool, now_s: float
) -> dict[str, RefusedScale]:
    """Return the refusals without those of which nothing has been asked for in a while.

    Args:
        known: Refusals by Deployment.
        capped: The plan has fewer replicas, for what is refused to grow.
        now_s: Monotonic seconds.
    """
    return {
        name: item
        for name, item in known.items()
        if not _is_over(item, capped=capped, now_s=now_s)
    }


def _is_over(known: RefusedScale, *, capped: bool, now_s: float) -> bool:
    calm_s = LONGEST_RETRY_S if known.failures else 0.0
    asked_for = capped and not known.fewer
    return not asked_for and now_s >= known.retry_at_s + calm_s


def refusal(
    known: Mapping[str, RefusedScale], groups: Iterable[Group], *, now_s: float
) -> Refusal | None:
    """Return the refusals as a decision sees them, about the replicas of all Deployments.

    Args:
        known: Refusals by Deployment; those of Deployments that are gone limit nothing.
        groups: The Deployments that exist.
        now_s: Monotonic seconds.
    """
    found = [(item, known.get(item.name)) for item in groups]
    refused = [about for _, about in found if about is not None]
    growing = [about for about in refused if not about.fewer]
    if not refused:
        return None
    told = min(growing or refused, key=lambda about: about.retry_at_s)
    most = sum(_taken(item, about, now_s) for item, about in found)
    wait_s = told.retry_at_s - now_s
    return Refusal(
        why=told.why,
        most=max(0, most) if growing else None,
        retry_in_s=wait_s if wait_s > 0 else None,
    )


def _taken(item: Group, known: RefusedScale | None, now_s: float) -> int:
    """Return the replicas of a Deployment that stay, with those that it may grow by."""
    if known is None or known.fewer:
        return item.staying
    return max(item.replicas, _most(known, due=now_s >= known.retry_at_s)) - len(item.departing)


def _most(known: RefusedScale, *, due: bool) -> int:
    return known.most + known.step if due else known.most
