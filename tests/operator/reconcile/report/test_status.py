from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from detection_operator.kube.objects import timestamp
from detection_operator.reconcile.report.conditions import Report, conditions
from detection_operator.reconcile.report.status import build_status, invalid_status
from detection_operator.reconcile.report.transitions import Event, Scaled, transitions
from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation, ReadError
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.schema import structural_schema
from detection_operator.spec.status import Status
from detection_operator.spec.validation import InvalidSpec

NOON_S = 1_767_268_800.0
HEALTHY = Observation(
    sampled_at_s=NOON_S,
    visible=3,
    dead_letter=0,
    replicas=2,
    ready=2,
    busy=2,
    in_flight=2,
    received=1000,
    received_late=5,
)


def report_of(spec: QueueSpec, seen: Observation, **more: Any) -> Report:
    now_s = more.pop("now_s", NOON_S)
    plan = decide(spec, seen, Memory(), now_s)
    return Report(spec=spec, seen=seen, plan=plan, generation=7, now_s=now_s, **more)


def statuses(report: Report) -> dict[str, tuple[str, str]]:
    return {item.type: (item.status, item.reason) for item in conditions(report)}


def test_a_healthy_queue_has_only_true_conditions(spec_of: Callable[..., QueueSpec]) -> None:
    found = statuses(report_of(spec_of(), HEALTHY))

    assert found == {
        "Ready": ("True", "Reconciled"),
        "QueueReachable": ("True", "Read"),
        "ScalingActive": ("True", "Auto"),
        "CapacityAvailable": ("True", "Scheduled"),
        "ObjectiveMet": ("True", "Met"),
        "WithinBudget": ("True", "NoBudget"),
        "DeadLetterHealthy": ("True", "Empty"),
        "ConfigurationHealthy": ("True", "Sound"),
    }


@pytest.mark.parametrize(
    ("length", "shown"),
    [pytest.param(4096, True, id="long"), pytest.param(4097, False, id="too long")],
)
def test_a_selector_is_shown_whole_or_not_at_all(
    spec_of: Callable[..., QueueSpec], length: int, *, shown: bool
) -> None:
    selector = "app=" + "v" * (length - 4)

    status = build_status(report_of(spec_of(), HEALTHY, selector=selector), {})

    jsonschema.validate(status, structural_schema(Status))
    assert status.get("selector") == (selector if shown else None)


BUDGET = {"replicaHourCost": "1", "maxPerHour": "1"}


@pytest.mark.parametrize(
    ("parts", "seen", "more", "expected"),
    [
        pytest.param({"paused": True}, {}, {}, ("ScalingActive", "False", "Paused"), id="paused"),
        pytest.param(
            {"scaling": {"mode": "Shadow"}},
            {},
            {},
            ("ScalingActive", "False", "Shadow"),
            id="shadow",
        ),
        pytest.param(
            {"scaling": {"mode": "Manual"}, "replicas": 1},
            {},
            {},
            ("ScalingActive", "False", "Manual"),
            id="manual",
        ),
        pytest.param(
            {}, {}, {"conflict": "HPA x"}, ("ScalingActive", "False", "Conflict"), id="an HPA"
        ),
        pytest.param(
            {},
            {"error": ReadError.THROTTLED},
            {},
            ("ScalingActive", "False", "Fallback"),
            id="unread",
        ),
        pytest.param(
            {},
            {"error": ReadError.ACCESS_DENIED},
            {},
            ("QueueReachable", "False", "AccessDenied"),
            id="denied",
        ),
        pytest.param(
            {},
            {"error": ReadError.ACCESS_DENIED},
            {},
            ("Ready", "False", "AccessDenied"),
            id="denied is not ready",
        ),
        pytest.param(
            {}, {"sampled_at_s": None}, {}, ("QueueReachable", "Unknown", "NotReadYet"), id="new"
        ),
        pytest.param(
            {},
            {},
            {"now_s": NOON_S + 500},
            ("QueueReachable", "False", "Stale"),
            id="a reading of long ago",
        ),
        pytest.param(
            {},
            {"unschedulable": 2, "unschedulable_since_s": NOON_S - 200},
            {},
            ("CapacityAvailable", "False", "Unschedulable"),
            id="no room",
        ),
        pytest.param(
            {},
            {"unschedulable": 2, "unschedulable_since_s": NOON_S - 200, "ready": 0, "busy": 0},
            {},
            ("Ready", "False", "Unschedulable"),
            id="no room at all",
        ),
        pytest.param(
            {},
            {"oldest_age_s": 121.0},
            {},
            ("ObjectiveMet", "False", "Late"),
            id="a message waits too long",
        ),
        pytest.param(
            {}, {"received_late": 11}, {}, ("ObjectiveMet", "False", "Missed"), id="98.9 percent"
        ),
        pytest.param(
            {},
            {"received": 0, "received_late": 0},
            {},
            ("ObjectiveMet", "Unknown", "NoMessages"),
            id="no messages",
        ),
        pytest.param(
            {"budget": BUDGET},
            {"visible": 900},
            {},
            ("WithinBudget", "False", "Clamped"),
            id="clamped",
        ),
        pytest.param(
            {"budget": {**BUDGET, "onExceeded": "Warn"}},
            {"visible": 900},
            {},
            ("WithinBudget", "False", "Exceeded"),
            id="warned",
        ),
        pytest.param(
            {"budget": {**BUDGET, "maxPerHour": "40"}},
            {},
            {},
            ("WithinBudget", "True", "Within"),
            id="within",
        ),
        pytest.param(
            {},
            {"dead_letter": 4},
            {},
            ("DeadLetterHealthy", "False", "Messages"),
            id="dead letters",
        ),
        pytest.param(
            {},
            {"dead_letter": None},
            {},
            ("DeadLetterHealthy", "Unknown", "NotRead"),
            id="no dead-letter queue",
        ),
        pytest.param(
            {},
            {},
            {"findings": ["no redrive policy"]},
            ("ConfigurationHealthy", "False", "Findings"),
            id="doctor",
        ),
    ],
)
def test_each_trouble_has_its_condition(
    spec_of: Callable[..., QueueSpec],
    parts: dict[str, Any],
    seen: dict[str, Any],
    more: dict[str, Any],
    expected: tuple[str, str, str],
) -> None:
    report = report_of(spec_of(**parts), replace(HEALTHY, **seen), **more)

    name, status, reason = expected
    assert statuses(report)[name] == (status, reason)
    assert all(item.message for item in conditions(report))


def test_an_unreadable_queue_says_what_is_to_be_mended(
    spec_of: Callable[..., QueueSpec],
) -> None:
    why = "/var/run/secrets/token: No such file or directory"
    denied = replace(HEALTHY, error=ReadError.ACCESS_DENIED, error_why=why)

    (reachable,) = (
        item for item in conditions(report_of(spec_of(), denied)) if item.type == "QueueReachable"
    )

    assert reachable.message.endswith(f"cannot be read: AccessDenied ({why})")


def test_a_poison_storm_is_named(spec_of: Callable[..., QueueSpec]) -> None:
    memory = Memory()
    for n in range(30):
        seen = replace(
            HEALTHY, sampled_at_s=NOON_S + 5 * n, failed=5 * n, dead_letter=n, visible=50
        )
        plan = decide(spec_of(), seen, memory, NOON_S + 5 * n)
        memory = plan.memory
    report = Report(spec=spec_of(), seen=seen, plan=plan, generation=1, now_s=NOON_S + 145)

    assert statuses(report)["DeadLetterHealthy"] == ("False", "Poison")


def test_the_status_fits_its_schema(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(budget={"replicaHourCost": "1.006", "maxPerHour": "200"})
    status = build_status(report_of(spec, HEALTHY, selector="a=b"), {})

    jsonschema.validate(status, structural_schema(Status))
    known = structural_schema(Status)["properties"]
    assert set(status) <= set(known)
    assert set(status["queue"]) <= set(known["queue"]["properties"])
    assert status["slo"]["attainmentPercent"] == "99.5"
    assert status["slo"]["messages"] == 1000
    assert status["cost"] == {"perHour": "2.01", "today": "0.00"}
    assert status["plan"]["binding"] == status["plan"]["terms"][-1]["name"]
    assert status["lastScaleTime"] == "2026-01-01T12:00:00Z"


def test_a_status_before_the_first_reading_says_nothing_of_the_queue(
    spec_of: Callable[..., QueueSpec],
) -> None:
    status = build_status(report_of(spec_of(), Observation(sampled_at_s=None)), {})

    assert "queue" not in status
    assert "attainmentPercent" not in status["slo"]


def test_times_move_only_with_the_status(spec_of: Callable[..., QueueSpec]) -> None:
    first = build_status(report_of(spec_of(), HEALTHY), {})
    later_seen = replace(HEALTHY, sampled_at_s=NOON_S + 60, dead_letter=2)
    later = build_status(report_of(spec_of(), later_seen, now_s=NOON_S + 60), first)

    times = {item["type"]: item["lastTransitionTime"] for item in later["conditions"]}
    assert times["QueueReachable"] == timestamp(NOON_S)
    assert times["DeadLetterHealthy"] == timestamp(NOON_S + 60)
    assert later["lastScaleTime"] == first["lastScaleTime"]


def test_events_tell_transitions_only(spec_of: Callable[..., QueueSpec]) -> None:
    first = build_status(report_of(spec_of(), HEALTHY), {})
    dead = build_status(report_of(spec_of(), replace(HEALTHY, dead_letter=2)), first)
    burst = build_status(report_of(spec_of(), replace(HEALTHY, visible=900)), first)

    assert transitions({}, first) == []
    assert transitions(first, first) == []
    assert transitions(first, dead) == [
        Event(type="Warning", reason="Messages", message="2 messages in the dead-letter queue")
    ]
    assert [event.reason for event in transitions(dead, first)] == ["Empty"]
    assert transitions(first, burst) == [], "a plan is no change of the replicas yet"


def test_a_change_of_the_replicas_names_the_deployment_and_who_goes() -> None:
    fewer = Scaled(deployment="video-1a2b", before=3, after=1, pods=["w-1", "w-2"])
    more = Scaled(deployment="video-1a2b", before=1, after=40)
    many = Scaled(deployment="d", before=9, after=0, pods=[f"p{n}" for n in range(9)])

    told = fewer.event("1 needed for 4 messages/s")
    assert (told.type, told.reason) == ("Normal", "Scaled")
    assert told.message == (
        "3 to 1 replica of video-1a2b, without w-1, w-2: 1 needed for 4 messages/s"
    )
    assert more.event("x").message == "1 to 40 replicas of video-1a2b: x"
    assert str(many) == "9 to 0 replicas of d, without p0, p1, p2, p3, p4 and 4 more"
    assert len(fewer.event("y" * 2000).message) == 1024


def test_a_summary_that_repeats_another_condition_is_no_event_of_its_own(
    spec_of: Callable[..., QueueSpec],
) -> None:
    good = build_status(report_of(spec_of(), HEALTHY), {})
    denied = replace(HEALTHY, error=ReadError.ACCESS_DENIED)
    bad = build_status(report_of(spec_of(), denied), good)
    invalid = invalid_status(InvalidSpec("slo", "wrong"), good, generation=8, now_s=NOON_S)

    assert [event.reason for event in transitions(good, bad)].count("AccessDenied") == 1
    assert [event.reason for event in transitions(bad, good)].count("Read") == 1
    assert "Reconciled" not in [event.reason for event in transitions(bad, good)]
    assert [event.reason for event in transitions(good, invalid)] == ["InvalidSpec"]
    assert [event.reason for event in transitions(invalid, good)] == ["Reconciled"]


def test_an_invalid_spec_is_said_and_the_rest_is_kept(spec_of: Callable[..., QueueSpec]) -> None:
    before = build_status(report_of(spec_of(), HEALTHY), {})
    error = InvalidSpec("scaling.schedules[0].timeZone", "'Mars' is no IANA time zone")

    status = invalid_status(error, before, generation=8, now_s=NOON_S + 5)

    ready = status["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.scaling.schedules[0].timeZone" in ready["message"]
    assert status["desiredReplicas"] == before["desiredReplicas"]
    assert len(status["conditions"]) == 8
