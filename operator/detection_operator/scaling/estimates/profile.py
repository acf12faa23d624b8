"""Messages by the time of day: what came yesterday and on this day last week, slot by slot.

One byte a slot in a ring of eight days, in UTC: small enough for the status of a DetectionQueue.
How well each of the two days foretold what came is measured all the time, whether or not it was
acted on, so that a queue without a daily pattern is not believed to have one.
"""

import base64
import functools
import math
import zlib
from dataclasses import dataclass, replace
from typing import Annotated, Final

from pydantic import PlainSerializer, PlainValidator

SLOT_S: Final = 300
"""Five minutes: few more than a cold start, and enough messages to tell a burst from noise."""
DAY: Final = 86_400 // SLOT_S
WEEK: Final = 7 * DAY
RING: Final = WEEK + DAY
"""Slots that are kept: last week's neighbours of the present one are among them."""
LAGS: Final = (DAY, WEEK)
"""What came so many slots ago is what may come again."""
STEPS: Final = 8
"""Levels in an octave: 9 % apart."""
TOP: Final = 248
"""Highest level: 2**31 messages."""
LEAST: Final = 10.0
"""Fewer messages in a slot come and go by chance."""
FADE: Final = 0.5 ** (1 / DAY)
"""A day ago counts half in the agreement."""
TRUSTED: Final = 1 / 4
"""Agreement from which on a day is believed: wrong twice in a row, it is not."""
RISE: Final = 1.25
"""A rise by less is left to the estimates of the present."""
LONGEST_GAP: Final = 2
"""Slots without a sample after which the series starts again."""

_COUNTS: Final[tuple[float, ...]] = tuple(2.0 ** (level / STEPS) - 1.0 for level in range(TOP + 1))


@functools.lru_cache(maxsize=1024)
def packed(levels: bytes) -> str:
    """Return a ring as text; at most 3,100 characters, few for a quiet queue."""
    return base64.b64encode(zlib.compress(levels, 9)).decode("ascii")


def unpacked(value: object) -> bytes:
    """Return the ring of a text.

    Raises:
        ValueError: It is no text of ``packed``.
    """
    if isinstance(value, bytes):
        found = value
    else:
        try:
            stream = base64.b64decode(str(value), validate=True)
            found = zlib.decompressobj().decompress(stream, RING + 1)
        except (ValueError, zlib.error) as exc:
            raise ValueError(f"no profile: {exc}") from exc
    if len(found) != RING or max(found) > TOP:
        raise ValueError(f"a profile has {RING} levels up to {TOP}")
    return found


Levels = Annotated[bytes, PlainValidator(unpacked), PlainSerializer(packed)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The slot of the present.

    Attributes:
        slot: Its number since the epoch.
        first: The slot in which the unbroken series of samples began.
        at_s: Time of its first sample.
        count: Arrivals so far at that time.
    """

    slot: int
    first: int
    at_s: float
    count: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a day foretold the messages of another; both sums fade.

    Attributes:
        common: Messages that came as foretold.
        either: Messages that came or were foretold.
    """

    common: float = 0.0
    either: float = 0.0

    @property
    def share(self) -> float:
        """From 0 to 1; 1 as long as there was nothing to compare."""
        return self.common / self.either if self.either >= 1.0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Messages by the time of day.

    Attributes:
        levels: Messages in each slot, by its number modulo ``RING``; see ``level``.
        since: The first slot that was measured; None before it is over.
        opened: The slot of the present; None before the first sample.
        agreements: For each of ``LAGS``.
    """

    levels: Levels = bytes(RING)
    since: int | None = None
    opened: Opened | None = None
    agreements: tuple[Agreement, Agreement] = (Agreement(), Agreement())


UNKNOWN: Final = Profile()
"""Before the first sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Messages that are expected.

    Attributes:
        per_s: Their pace in the busiest slot.
        slot: The number of that slot since the epoch.
        lag: How many slots ago they came before; one of ``LAGS``.
    """

    per_s: float
    slot: int
    lag: int


def level(messages: float) -> int:
    """Return the level of a number of messages, >= 0, on a scale with equal ratios."""
    return min(TOP, round(STEPS * math.log2(1.0 + messages)))


def absorb(old: Profile, *, at_s: float, count: float, continuous: bool) -> Profile:
    """Return the profile with one more sample.

    Args:
        old: The profile so far.
        at_s: Time of the sample, in s since the epoch.
        count: Arrivals so far, from an arbitrary start.
        continuous: The count goes on from that of the sample before.
    """
    slot, opened = int(at_s // SLOT_S), old.opened
    broken = opened is None or not continuous or not 0 <= slot - opened.slot <= LONGEST_GAP
    if opened is None or broken:
        return replace(old, opened=Opened(slot=slot, first=slot, at_s=at_s, count=count))
    if slot == opened.slot:
        return old
    lasted_s = at_s - opened.at_s
    closed = old
    if lasted_s >= SLOT_S / 2:
        messages = max(0.0, count - opened.count) / lasted_s * SLOT_S
        for number in range(opened.slot, slot):
            closed = _with_slot(closed, number, messages)
    return replace(closed, opened=Opened(slot=slot, first=opened.first, at_s=at_s, count=count))


def _with_slot(old: Profile, slot: int, messages: float) -> Profile:
    """Return the profile with the messages of a slot that is over."""
    place, value = slot % RING, level(messages)
    levels = old.levels
    if levels[place] != value:
        levels = levels[:place] + bytes((value,)) + levels[place + 1 :]
    day, week = (
        _scored(agreement, _foretold(old, slot - lag), messages)
        for lag, agreement in zip(LAGS, old.agreements, strict=True)
    )
    since = slot if old.since is None else old.since
    return replace(old, levels=levels, since=since, agreements=(day, week))


def _foretold(profile: Profile, slot: int) -> tuple[float, ...]:
    """Return the messages of a past slot and its neighbours; nothing if it is not known."""
    if not _is_known(profile, slot):
        return ()
    return tuple(messages_in(profile, slot + shift) for shift in (-1, 0, 1))


def _scored(before: Agreement, foretold: tuple[float, ...], messages: float) -> Agreement:
    """Return the agreement after one more slot, whose messages may be one earlier or later."""
    if not foretold:
        return before
    return Agreement(
        before.common * FADE + min(messages, max(foretold)),
        before.either * FADE + max(messages, min(foretold)),
    )


def _is_known(profile: Profile, slot: int) -> bool:
    return profile.since is not None and slot >= profile.since


def messages_in(profile: Profile, slot: int) -> float:
    """Return the messages of one of the last ``RING`` slots; 0 if it was not measured."""
    return _COUNTS[profile.levels[slot % RING]]


def expected(profile: Profile, *, now_s: float, until_s: float) -> Expected | None:
    """Return the rise that is expected until ``until_s``; None if there is none.

    It is what came at the same time of the day that foretold the last days best. As soon as a
    slot in which as much was expected is over, the present says more than the past: either it
    came, or it is late or does not come today.
    """
    present = int(now_s // SLOT_S)
    lag = _best_lag(profile, present)
    if lag is None:
        return None
    slots = range(present, int(until_s // SLOT_S) + 1)
    slot = max(slots, key=lambda number: (messages_in(profile, number - lag), -number))
    messages = messages_in(profile, slot - lag)
    first = present if profile.opened is None else profile.opened.first
    over = range(max(first, present - 2), present)
    known = max((messages_in(profile, number - lag) for number in over), default=0.0)
    if messages < LEAST or messages < RISE * known:
        return None
    return Expected(per_s=messages / SLOT_S, slot=slot, lag=lag)


def _best_lag(profile: Profile, slot: int) -> int | None:
    """Return the lag with the best agreement, last week's if both are as good; None: neither."""
    shares = [
        (agreement.share, lag)
        for lag, agreement in zip(LAGS, profile.agreements, strict=True)
        if _is_known(profile, slot - lag) and agreement.share >= TRUSTED
    ]
    return max(shares)[1] if shares else None


def restored(
    levels: bytes, *, since_s: float, seen_s: float, now_s: float, shares: tuple[float, float]
) -> Profile:
    """Return a profile that was kept in a status.

    Args:
        levels: Its ring.
        since_s: Start of the first slot that was measured.
        seen_s: Time of the last sample; the slots since then are not known. After a restart of
            few slots they are taken to be like the last one that was measured.
        now_s: The present.
        shares: Agreement for each of ``LAGS``, 0 to 1.
    """
    kept = bytearray(levels)
    last, present = int(seen_s // SLOT_S), int(now_s // SLOT_S)
    short = present - last <= LONGEST_GAP and since_s < last * SLOT_S
    missed = kept[(last - 1) % RING] if short else 0
    for slot in range(max(last, present - RING + 1), present + 1):
        kept[slot % RING] = missed
    profile = Profile(levels=bytes(kept), since=int(since_s // SLOT_S))
    either = max(1.0, _faded(profile, present))
    first, second = (Agreement(share * either, either) for share in shares)
    return replace(profile, agreements=(first, second))


def _faded(profile: Profile, present: int) -> float:
    """Return the messages of all slots that are over, each by what it still counts.

    A quiet day before the restart does not void what the days before it have shown.
    """
    return sum(messages_in(profile, present - back) * FADE**back for back in range(1, RING))
