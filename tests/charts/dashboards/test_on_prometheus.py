"""Every query of the dashboards on a real Prometheus: no queue, one, fifty, and two clusters."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from detection_testing.monitoring.prometheus import Prometheus, knowing
from detection_testing.monitoring.queues import Story
from detection_testing.monitoring.scenes import DAY, many, told

pytestmark = [pytest.mark.slow]

END_S = 1_767_225_600
LENGTH_S = 20 * 60
ALL = {"cluster": ".*", "namespace": ".*", "queue": ".*"}
SCENES: dict[str, Sequence[Story]] = {
    "none": (),
    "one": [Story(name="only", objective_s=120)],
    "day": DAY,
    "many": many(50),
    "clusters": [*many(3, "eu"), *many(4, "us")],
}
Answers = dict[tuple[str, str, str], list[dict[str, Any]]]
"""What is drawn, by board, title of the panel and letter of the query."""
FREE = {
    ("fleet", "Pools"), ("fleet", "Short of pool units"), ("queue", "Share of the pool"),
    ("fleet", "Firing alerts"), ("queue", "Firing alerts"),
}  # fmt: skip
"""Panels of pools and alerts, which not every fleet has."""


@pytest.fixture(scope="module")
def prometheus_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Prometheus]]:
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            pytest.skip(f"NOT TESTED: dashboards on a real Prometheus: no {program} on the PATH")
    running: dict[str, Prometheus] = {}
    with ExitStack() as stack:

        def start(scene: str) -> Prometheus:
            if scene not in running:
                history = told(SCENES[scene], END_S, length_s=LENGTH_S, pods=1)
                folder = tmp_path_factory.mktemp(scene)
                running[scene] = stack.enter_context(knowing(history, folder))
            return running[scene]

        yield start


def filled(expr: str, choices: Mapping[str, str]) -> str:
    values = {**choices, "__rate_interval": "4m", "__range": f"{LENGTH_S}s", "__interval": "60s"}
    return re.sub(r"\$(\w+)", lambda name: values.get(name[1], name[0]), expr)


def drawn(chart: Path, prometheus: Prometheus, choices: Mapping[str, str]) -> Answers:
    """Return what every query of every panel, and every annotation, gets."""
    found: Answers = {}
    for name in ("fleet", "queue", "workers"):
        board = json.loads((chart / "files" / "dashboards" / f"{name}.json").read_text())
        for item in board["annotations"]["list"]:
            expr = filled(item["expr"], choices)
            series = prometheus.drawn(expr, END_S - LENGTH_S, END_S, 60)
            found[name, f"annotation {item['name']}", "A"] = series
        for panel in board["panels"]:
            for each in panel["panels"] if panel["type"] == "row" else [panel]:
                for target in each["targets"]:
                    expr = filled(target["expr"], choices)
                    found[name, each["title"], target["refId"]] = (
                        prometheus.instant(expr, END_S)
                        if target.get("instant")
                        else prometheus.drawn(expr, END_S - LENGTH_S, END_S, 60)
                    )
    return found


def values(series: Mapping[str, Any]) -> list[float]:
    samples = series["values"] if "values" in series else [series["value"]]
    return [float(value) for _, value in samples]


def rows(answers: Answers, board: str, title: str) -> dict[str, list[dict[str, Any]]]:
    return {ref: found for (b, t, ref), found in answers.items() if (b, t) == (board, title)}


def key(labels: Mapping[str, str]) -> tuple[str, str, str]:
    return labels.get("cluster", ""), labels["namespace"], labels["name"]


def keys_of(stories: Sequence[Story]) -> list[tuple[str, str, str]]:
    return sorted(key(story.key) for story in stories)


@pytest.mark.parametrize("scene", SCENES)
def test_no_query_fails_or_divides_by_zero(
    chart: Path, prometheus_of: Callable[[str], Prometheus], scene: str
) -> None:
    answers = drawn(chart, prometheus_of(scene), ALL)

    broken = {
        where
        for where, found in answers.items()
        for series in found
        if not all(math.isfinite(value) for value in values(series))
    }
    assert broken == set()
    assert len(answers) > 130


@pytest.mark.parametrize("scene", ["one", "many", "clusters"])
def test_every_panel_shows_something(
    chart: Path, prometheus_of: Callable[[str], Prometheus], scene: str
) -> None:
    answers = drawn(chart, prometheus_of(scene), ALL)

    shown = {(board, title) for (board, title, _), found in answers.items() if found}
    asked = {(board, title) for board, title, _ in answers if "annotation" not in title}
    budgets = set() if scene != "one" else {
        ("fleet", "Cost per hour"), ("queue", "Cost"), ("queue", "Spent of the budget"),
    }  # fmt: skip
    assert asked - shown - FREE == budgets


def test_without_queues_nothing_but_the_operator_is_shown(
    chart: Path, prometheus_of: Callable[[str], Prometheus]
) -> None:
    answers = drawn(chart, prometheus_of("none"), ALL)

    assert {title for (_, title, _), found in answers.items() if found} == {
        "Reconciles", "Reconcile duration", "Leaders and queues", "Decisions",
        "Drains and busy workers removed", "Requests of the operator",
    }  # fmt: skip


@pytest.mark.parametrize("scene", ["one", "day", "many", "clusters"])
def test_the_table_of_queues_has_a_row_a_queue(
    chart: Path, prometheus_of: Callable[[str], Prometheus], scene: str
) -> None:
    stories = SCENES[scene]
    found = rows(drawn(chart, prometheus_of(scene), ALL), "fleet", "Queues")

    keyed = {ref: sorted(key(row["metric"]) for row in each) for ref, each in found.items()}
    costs = keyed.popitem()[1]
    assert costs == keys_of([story for story in stories if story.cost])
    assert all(each == keys_of(stories) for each in keyed.values())
    assert len(keyed) == 11
    goto = {row["metric"]["goto"] for row in found["A"]}
    assert goto == {story.cluster or "$__all" for story in stories}


def test_the_state_is_the_worst_that_is_known(
    chart: Path, prometheus_of: Callable[[str], Prometheus]
) -> None:
    found = rows(drawn(chart, prometheus_of("day"), ALL), "fleet", "Queues")

    states = {row["metric"]["name"]: float(row["value"][1]) for row in found["A"]}
    late = {row["metric"]["name"] for row in found["D"] if float(row["value"][1]) > 1}
    assert late
    assert {name for name, state in states.items() if state == 3} == late
    assert states["ads"] == 2
    assert states["archive"] == 1
    assert states["audio"] == 0


def test_a_choice_of_cluster_or_queue_leaves_the_others_out(
    chart: Path, prometheus_of: Callable[[str], Prometheus]
) -> None:
    one = {"cluster": "eu", "namespace": ".*", "queue": "queue-00|queue-02"}
    answers = drawn(chart, prometheus_of("clusters"), one)

    labels = [series["metric"] for found in answers.values() for series in found]
    assert {each["cluster"] for each in labels if "cluster" in each} == {"eu"}
    assert {each["name"] for each in labels if "namespace" in each and "name" in each} == {
        "queue-00", "queue-02",
    }  # fmt: skip
    assert {each["queue"] for each in labels if "queue" in each} == {"queue-00", "queue-02"}


def test_what_happened_is_marked(chart: Path, prometheus_of: Callable[[str], Prometheus]) -> None:
    answers = drawn(chart, prometheus_of("day"), {**ALL, "queue": "uploads|audio"})

    marked = {
        what: {series["metric"]["name"] for series in answers["queue", f"annotation {what}", "A"]}
        for what in ("Alert", "Roll-out", "Scaled up", "Scaled down")
    }
    assert marked["Alert"] == {"uploads"}
    assert marked["Roll-out"] == {"audio"}
    assert marked["Scaled up"] == {"audio"}
    assert marked["Scaled down"] <= {"uploads", "audio"}


def test_the_scenes_have_series_as_operator_and_worker_export_them(
    series: Mapping[str, set[str]],
) -> None:
    made = told(DAY, END_S, length_s=LENGTH_S, pods=1).names()
    added = {"cluster", "namespace", "pod", "queue"}

    exported = {name for name in made if name.startswith("detection_") and ":" not in name}
    ours = {name: made[name] - added for name in exported}
    known = {name: labels - added for name, labels in series.items()}
    assert {name: labels for name, labels in ours.items() if labels != known.get(name)} == {}
    assert known.keys() - ours.keys() == set()
