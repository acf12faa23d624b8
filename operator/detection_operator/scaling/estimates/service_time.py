"""How long one message keeps a worker busy, by media type, from the workers' own counters."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from detection_contract.media_types import MediaKind
from detection_operator.scaling.observation import Served
from detection_operator.spec.queue_spec import Prior

PRIOR_WEIGHT: Final = 3.0
"""Messages that a prior is worth: forgotten after a handful of measurements."""
MEMORY: Final = 200.0
"""Messages that count; older ones fade, so that a new model is learned within minutes."""
UNKNOWN_S: Final = 5.0
"""Service time of a kind that has neither prior nor measurement."""
Z90: Final = 1.2816
"""90 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class KindTime:
    """Service time of one media type.

    Attributes:
        media_type: The kind.
        weight: Messages behind the estimate, at most ``MEMORY``; starts at the prior's.
        mean_s: Mean.
        square: Mean of the squares, in s².
        seen: ``Served`` totals at the last observation: messages, seconds, squares.
        share: Recent messages of this kind, fading; the mix weighs by it.
    """

    media_type: MediaKind
    weight: float
    mean_s: float
    square: float
    seen: tuple[int, float, float] = (0, 0.0, 0.0)
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Mix:
    """Service time over all kinds, weighted by what was served recently."""

    mean_s: float
    p90_s: float
    samples: int


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """What is known of the service times.

    Attributes:
        kinds: One estimate for each kind that has a prior or was served.
        messages: All that were served.
        mix: Over the kinds.
    """

    kinds: tuple[KindTime, ...]
    messages: int
    mix: Mix


def from_priors(priors: Iterable[Prior]) -> ServiceTimes:
    """Return what is known before any measurement: an even mix of the priors."""
    kinds = tuple(
        KindTime(prior.media_type, PRIOR_WEIGHT, float(prior.seconds), prior.seconds**2.0)
        for prior in priors
    )
    return ServiceTimes(kinds, 0, _mix(kinds))


def absorb(old: ServiceTimes, served: tuple[Served, ...]) -> ServiceTimes:
    """Return the estimates after another observation of the workers' totals."""
    messages = sum(item.messages for item in served)
    if messages == old.messages:
        return old
    known = {kind.media_type: kind for kind in old.kinds}
    fade = math.exp(-max(0, messages - old.messages) / MEMORY)
    totals = {item.media_type: item for item in served}
    names = list(known) + [name for name in totals if name not in known]
    kinds = tuple(_learn(known.get(name), totals.get(name), name, fade) for name in names)
    return ServiceTimes(kinds, messages, _mix(kinds))


def _learn(known: KindTime | None, total: Served | None, name: MediaKind, fade: float) -> KindTime:
    kind = known or KindTime(name, 0.0, UNKNOWN_S, UNKNOWN_S**2)
    if total is None:
        return KindTime(name, kind.weight, kind.mean_s, kind.square, kind.seen, kind.share * fade)
    seen = (total.messages, total.seconds, total.squares)
    if total.messages < kind.seen[0]:
        # Totals fell: the process that counts them restarted.
        kind = KindTime(name, kind.weight, kind.mean_s, kind.square, share=kind.share)
    count = total.messages - kind.seen[0]
    if count == 0:
        return KindTime(name, kind.weight, kind.mean_s, kind.square, seen, kind.share * fade)
    weight = kind.weight + count
    gain = count / weight
    mean_s = kind.mean_s + gain * ((total.seconds - kind.seen[1]) / count - kind.mean_s)
    square = kind.square + gain * ((total.squares - kind.seen[2]) / count - kind.square)
    return KindTime(
        name, min(weight, MEMORY), mean_s, max(square, 0.0), seen, kind.share * fade + count
    )


def _mix(kinds: tuple[KindTime, ...]) -> Mix:
    total = sum(kind.share for kind in kinds)
    if total <= 0.0:
        means = [kind.mean_s for kind in kinds] or [UNKNOWN_S]
        mean_s = sum(means) / len(means)
        return Mix(mean_s, max(means), 0)
    mean_s = sum(kind.share * kind.mean_s for kind in kinds) / total
    square = sum(kind.share * kind.square for kind in kinds) / total
    spread_s = math.sqrt(max(0.0, square - mean_s * mean_s))
    return Mix(max(mean_s, 1e-3), mean_s + Z90 * spread_s, round(min(total, MEMORY)))
