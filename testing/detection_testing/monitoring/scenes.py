"""Fleets to look at: a day as it is, an empty fleet, one queue, many queues, two clusters."""

from collections.abc import Sequence

from detection_testing.monitoring.history import History
from detection_testing.monitoring.queues import Moment, Story, moments, record_queue
from detection_testing.monitoring.workers import PODS, record_operator, record_workers

HOURS_S = 3 * 3600.0
DAY: Sequence[Story] = (
    Story(
        name="video",
        load=6,
        burst=1.35,
        most=24,
        room=9,
        objective_s=120,
        attained=0.996,
        cost=1.006,
        pool="gpu",
    ),
    Story(name="uploads", load=3, burst=2.2, most=5, objective_s=180, attained=0.985, cost=1.006),
    Story(
        name="audio", load=1.5, most=8, objective_s=300, attained=0.9995, pool="gpu", rolled=True
    ),
    Story(
        name="live",
        namespace="broadcast",
        load=4,
        burst=2.15,
        most=16,
        room=11,
        objective_s=30,
        attained=0.9991,
        cost=1.006,
    ),
    Story(
        name="archive",
        namespace="broadcast",
        load=2,
        most=6,
        objective_s=3600,
        attained=0.988,
        cost=0.526,
    ),
    Story(
        name="moderation",
        namespace="social",
        load=5,
        burst=1.3,
        most=20,
        objective_s=60,
        attained=0.998,
        poison=0.004,
        cost=1.006,
    ),
    Story(name="avatars", namespace="social", load=0.4, most=4, objective_s=600),
    Story(
        name="ads",
        namespace="social",
        load=1,
        burst=1.2,
        most=6,
        objective_s=300,
        false=("Ready", "ConfigurationHealthy"),
    ),
)
"""A queue short of its pool, one at its maximum, one without nodes, one not ready, the others
in time, one of them below its objective for the day."""


def many(count: int, cluster: str = "") -> list[Story]:
    """Return many small queues, every seventh of which gets more than it can take."""
    return [
        Story(
            name=f"queue-{number:02}",
            cluster=cluster,
            namespace=f"team-{number % 5}",
            load=0.6 + number % 4,
            burst=3 if number % 7 == 0 else 1,
            most=4 + number % 9,
            objective_s=(60, 120, 300)[number % 3],
            cost=1.006 if number % 2 else 0,
        )
        for number in range(count)
    ]


def told(
    stories: Sequence[Story], end_s: float, *, length_s: float = HOURS_S, pods: int = PODS
) -> History:
    """Return the history of a fleet.

    Args:
        stories: Its queues; without any only the operator has series.
        end_s: Unix time of its newest samples.
        length_s: Seconds that it lasts.
        pods: Workers of a queue that have series, at most 5.
    """
    history = History()
    start_s = end_s - length_s
    for story in stories:
        course = list(moments(story, start_s, end_s))
        record_queue(history, story, course)
        record_workers(history, story, course, pods)
        _alert(history, story, course)
    clusters = {story.cluster for story in stories} or {""}
    for cluster in sorted(clusters):
        here = [story for story in stories if story.cluster == cluster]
        times = list(moments(Story(name="operator"), start_s, end_s))
        record_operator(history, cluster, times, len(here))
        _pools(history, here, times)
    return history


def _pools(history: History, stories: Sequence[Story], times: Sequence[Moment]) -> None:
    for pool in sorted(
        {(each.cluster, each.namespace, each.pool) for each in stories if each.pool}
    ):
        labels = dict(zip(("cluster", "namespace", "pool"), pool, strict=True))
        for now in times:
            history.put(now.at_s, "detection_operator_pool_capacity", 12, labels)
            for kind in ("CapacityKnown", "GuaranteesCovered", "WithinCapacity"):
                series = "detection_operator_pool_condition"
                history.put(now.at_s, series, 1, {**labels, "type": kind})


def _alert(history: History, story: Story, course: Sequence[Moment]) -> None:
    """Record the alerts that would fire, without their rules."""
    for now in course:
        firing = {
            "DetectionQueueObjectiveMissedNow": ("critical", now.age_s > story.objective_s),
            "DetectionQueueAtMaximum": (
                "warning", now.age_s > story.objective_s and now.wanted > story.most
            ),
            "DetectionQueueCapacityBlocked": ("warning", now.stuck > 0),
            "DetectionQueueMisconfigured": (
                "warning", bool(story.false) and now.at_s > course[-1].at_s - 1800
            ),
        }  # fmt: skip
        for name, (severity, fires) in firing.items():
            if fires:
                labels = {"alertname": name, "severity": severity, "alertstate": "firing"}
                history.put(now.at_s, "ALERTS", 1, {**story.key, **labels})
