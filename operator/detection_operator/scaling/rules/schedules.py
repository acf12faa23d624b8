"""Which scheduled minimum holds now. Cron expressions run in their own time zone, DST included."""

import functools
from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from detection_operator.spec.scaling import Schedule


def active(schedules: Iterable[Schedule], now_s: float) -> Schedule | None:
    """Return the active schedule with the most replicas, or None."""
    minute = int(now_s // 60)
    holding = [item for item in schedules if _holds(item, minute)]
    return max(holding, key=lambda item: item.min_replicas, default=None)


@functools.lru_cache(maxsize=4096)
def _holds(schedule: Schedule, minute: int) -> bool:
    """Say whether the last start was less than the duration ago; starts fall on whole minutes.

    Cached because 1,000 resources ask about the same minute every few seconds.
    """
    inputs = datetime.fromtimestamp(minute * 60, UTC)
    # Reverse iteration excludes its start, so it begins a minute later: a start now counts.
    later = datetime.fromtimestamp(minute * 60 + 60, UTC).astimezone(ZoneInfo(schedule.time_zone))
    started = next(CronSim(schedule.cron, later, reverse=True))
    return (inputs - started.astimezone(UTC)).total_seconds() < schedule.duration_s
