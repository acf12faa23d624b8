"""What a decision record holds, and which lines are none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detection_operator.scaling.decision import decide
from detection_operator.scaling.decision_input import decision_input
from detection_operator.scaling.estimates import recent_load
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.records import (
    VERSION,
    InvalidRecord,
    Record,
    from_line,
    plan_json,
    redecide,
    to_line,
)
from detection_operator.scaling.rules.terms import Rule
from detection_operator.spec.queue_spec import QueueSpec

NOON_S = 1_767_268_800.0
OLD = (Path(__file__).parent / "records-version-2.jsonl").read_text().splitlines()


def record(spec: QueueSpec) -> Record:
    seen = Observation(sampled_at_s=NOON_S, visible=400)
    plan = decide(spec, seen, Memory(), NOON_S)
    return Record(spec=spec, observation=seen, memory=Memory(), now_s=NOON_S, plan=plan)


def test_a_record_has_everything_and_the_sentences(spec_of: Callable[..., QueueSpec]) -> None:
    written = record(spec_of())

    data = json.loads(to_line(written))

    assert sorted(data) == ["memory", "now", "observation", "plan", "spec", "version"]
    assert data["version"] == VERSION
    assert data["spec"]["queue"]["pollIntervalSeconds"] == 5
    assert data["plan"]["message"] == written.plan.message
    assert [term["sentence"] for term in data["plan"]["terms"]] == [
        term.sentence for term in written.plan.terms
    ]
    assert from_line(to_line(written)) == written


def test_a_record_of_version_2_keeps_its_sentences() -> None:
    plans = [from_line(line).plan for line in OLD]

    assert [plan.message for plan in plans] == [
        json.loads(line)["plan"]["message"] for line in OLD
    ]
    assert {plan.binding for plan in plans} >= {Rule.CLEAR_BACKLOG_IN_TIME, Rule.CLUSTER_CAPACITY}
    again = [redecide(from_line(line)) for line in OLD]
    assert {plan.binding for plan in again} >= {Rule.CLEAR_BACKLOG_IN_TIME, Rule.CLUSTER_CAPACITY}


def test_a_record_of_version_3_is_read_without_its_recent_peaks(
    spec_of: Callable[..., QueueSpec],
) -> None:
    seen = Observation(sampled_at_s=NOON_S, visible=400)
    memory = decide(spec_of(), seen, Memory(), NOON_S).memory
    plan = decide(spec_of(), seen, memory, NOON_S)
    written = Record(spec=spec_of(), observation=seen, memory=memory, now_s=NOON_S, plan=plan)
    data = json.loads(to_line(written)) | {"version": 3}
    for part in (data, data["plan"]):
        part["memory"]["estimators"]["arrivals"]["peaks"] = [[NOON_S, 0.5]]
        part["memory"]["estimators"]["slo_feedback"] = {"level": 0.1, "cold_at_s": None}
        del part["memory"]["estimators"]["recent_load"]

    read = from_line(json.dumps(data))

    assert read == replace(
        written,
        memory=replace(
            memory, estimators=replace(memory.estimators, recent_load=recent_load.NO_LOAD)
        ),
        plan=replace(
            plan,
            memory=replace(
                plan.memory,
                estimators=replace(plan.memory.estimators, recent_load=recent_load.NO_LOAD),
            ),
        ),
    )


def _with(data: dict[str, Any], *path: str, value: Any) -> dict[str, Any]:
    target = data
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        pytest.param(("now",), "noon", "now: ", id="a time that is none"),
        pytest.param(("plan", "desired"), "four", "plan.desired: ", id="a number that is none"),
        pytest.param(("plan", "binding"), "Moon", "plan.binding: ", id="a rule that is none"),
        pytest.param(("plan", "terms"), 3, "missing or wrong", id="terms that are no list"),
        pytest.param(("plan", "colour"), "red", "plan.colour: ", id="an unknown name"),
        pytest.param(("observation",), None, "observation: ", id="no observation"),
        pytest.param(
            ("spec", "scaling"), 5, "scaling: is int, must be an object", id="a bad spec"
        ),
    ],
)
def test_a_record_of_another_shape_is_refused(
    spec_of: Callable[..., QueueSpec], path: tuple[str, ...], value: Any, why: str
) -> None:
    data = _with(json.loads(to_line(record(spec_of()))), *path, value=value)

    with pytest.raises(InvalidRecord, match=why):
        from_line(json.dumps(data))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        pytest.param("soon", "no JSON", id="no JSON"),
        pytest.param("[2]", "no decision record", id="no object"),
        pytest.param('{"plan": {}}', "no decision record", id="no version"),
        pytest.param('{"version": 1}', "reads 2, 3 and 4", id="a version of long ago"),
        pytest.param('{"version": 3}', "spec: ", id="no plan"),
        pytest.param('{"version": 2}', "spec: ", id="no plan in version 2"),
        pytest.param('{"version": 3, "plan": {}}', "terms", id="no terms"),
    ],
)
def test_a_line_that_is_no_record_is_refused(line: str, why: str) -> None:
    with pytest.raises(InvalidRecord, match=why):
        from_line(line)


def test_the_plan_of_a_record_has_the_plan_s_own_json(spec_of: Callable[..., QueueSpec]) -> None:
    written = record(spec_of())

    assert plan_json(written.plan) == json.loads(to_line(written))["plan"]


def test_a_decision_needs_the_observation_in_the_estimators(
    spec_of: Callable[..., QueueSpec],
) -> None:
    seen, nothing = Observation(sampled_at_s=NOON_S), Memory()

    with pytest.raises(ValueError, match="was not learned"):
        decision_input(
            spec_of(), seen, nothing.estimators, nothing.history, now_s=NOON_S, fresh=True
        )
