"""CloudWatch's Embedded Metric Format: what a line says, and that CloudWatch would take it."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from detection_contract.process import emf
from detection_contract.process.emf import Chosen, Lines, is_namespace, reporting

NAME = {"type": "string", "minLength": 1, "maxLength": 1024}
DIMENSION = {"type": "string", "minLength": 1, "maxLength": 250}
METRIC = {
    "type": "object",
    "required": ["Name"],
    "additionalProperties": False,
    "properties": {
        "Name": NAME,
        "Unit": {
            "enum": ["Seconds", "Bytes", "Count", "Count/Second"],
        },
        "StorageResolution": {"enum": [1, 60]},
    },
}
DIRECTIVE = {
    "type": "object",
    "required": ["Namespace", "Dimensions", "Metrics"],
    "additionalProperties": False,
    "properties": {
        "Namespace": NAME,
        "Dimensions": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "maxItems": 30, "items": DIMENSION},
        },
        "Metrics": {"type": "array", "minItems": 1, "maxItems": 100, "items": METRIC},
    },
}
SPECIFICATION = Draft202012Validator(
    {
        "type": "object",
        "required": ["_aws"],
        "properties": {
            "_aws": {
                "type": "object",
                "required": ["Timestamp", "CloudWatchMetrics"],
                "additionalProperties": False,
                "properties": {
                    "Timestamp": {"type": "integer", "minimum": 1_500_000_000_000},
                    "CloudWatchMetrics": {"type": "array", "minItems": 1, "items": DIRECTIVE},
                },
            }
        },
    }
)
"""The format as AWS specifies it, and what its agents send for histograms."""
NOW_MS = 1_800_000_000_000


def check(line: str) -> dict[str, Any]:
    """Return what a line says, if CloudWatch would take it."""
    found: dict[str, Any] = json.loads(line)
    SPECIFICATION.validate(found)
    [directive] = found["_aws"]["CloudWatchMetrics"]
    [names] = directive["Dimensions"]
    for name in names:
        assert 1 <= len(found[name]) <= 1024
    for metric in directive["Metrics"]:
        value = found[metric["Name"]]
        if isinstance(value, dict):
            assert len(value["Values"]) == len(value["Counts"]) <= 100
            assert value["Values"] == sorted(set(value["Values"]))
            assert min(value["Counts"]) > 0
            assert (value["Min"], value["Max"]) == (value["Values"][0], value["Values"][-1])
            assert value["Count"] == sum(value["Counts"])
            pairs = zip(value["Values"], value["Counts"], strict=True)
            assert value["Sum"] == sum(bound * count for bound, count in pairs)
        else:
            assert isinstance(value, float)
    assert found.keys() == {"_aws", *names, *(m["Name"] for m in directive["Metrics"])}
    assert "\n" not in line
    return found


class Fixture:
    """A registry with one of each kind."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.jobs = Counter("jobs", "d", ["kind", "code"], registry=self.registry)
        self.depth = Gauge("depth_seconds", "d", registry=self.registry)
        self.wait = Histogram(
            "wait_seconds", "d", ["kind"], buckets=(1, 5), registry=self.registry
        )
        self.other = Gauge("other", "d", registry=self.registry)
        self.lines = Lines(
            "media",
            [Chosen("jobs_total", ("kind",)), Chosen("depth_seconds"), Chosen("wait_seconds")],
            {"queue": "q"},
        )

    def make(self) -> list[dict[str, Any]]:
        return [check(line) for line in self.lines.make(self.registry.collect(), now_ms=NOW_MS)]


@pytest.fixture
def made() -> Fixture:
    return Fixture()


def test_a_gauge_is_sent_as_it_is_with_its_unit_and_dimensions(made: Fixture) -> None:
    made.depth.set(7)
    made.other.set(1)

    [line] = made.make()

    assert line == {
        "_aws": {
            "Timestamp": NOW_MS,
            "CloudWatchMetrics": [
                {
                    "Namespace": "media",
                    "Dimensions": [["queue"]],
                    "Metrics": [{"Name": "depth_seconds", "Unit": "Seconds"}],
                }
            ],
        },
        "queue": "q",
        "depth_seconds": 7.0,
    }


def test_a_counter_is_sent_as_what_was_added_by_its_chosen_labels(made: Fixture) -> None:
    made.jobs.labels("image", "a").inc(2)
    made.jobs.labels("image", "b").inc(3)
    made.jobs.labels("audio", "a").inc(1)
    first = {line["kind"]: line["jobs_total"] for line in made.make() if "kind" in line}
    made.jobs.labels("image", "b").inc(4)
    second = {line["kind"]: line["jobs_total"] for line in made.make() if "kind" in line}

    assert first == {"image": 5.0, "audio": 1.0}
    assert second == {"image": 4.0, "audio": 0.0}


def test_a_counter_that_fell_began_again(made: Fixture) -> None:
    made.jobs.labels("image", "a").inc(9)
    made.make()
    made.jobs.labels("image", "a").reset()
    made.jobs.labels("image", "a").inc(2)

    [value] = [line["jobs_total"] for line in made.make() if "kind" in line]
    assert value == 2.0


def test_a_histogram_is_sent_as_values_and_counts_of_new_observations(made: Fixture) -> None:
    for seconds in (0.5, 0.6, 3.0, 100.0):
        made.wait.labels("image").observe(seconds)
    made.wait.labels("audio").observe(4.0)
    [first] = made.make()
    [second] = made.make()
    made.wait.labels("audio").observe(0.1)
    [third] = made.make()

    # 100 s lie beyond the last bound: as much as that is known.
    assert first["wait_seconds"] == {
        "Values": [1.0, 5.0],
        "Counts": [2.0, 3.0],
        "Min": 1.0,
        "Max": 5.0,
        "Count": 5.0,
        "Sum": 17.0,
    }
    assert "wait_seconds" not in second
    assert third["wait_seconds"]["Values"] == [1.0]
    assert third["wait_seconds"]["Counts"] == [1.0]


def test_what_is_no_number_is_left_out_and_an_empty_dimension_is_named(made: Fixture) -> None:
    made.depth.set(float("nan"))
    made.jobs.labels("", "a").inc()

    [line] = made.make()

    assert (line["kind"], line["jobs_total"]) == ("-", 1.0)


def test_units_follow_from_names() -> None:
    registry = CollectorRegistry()
    names = ["a_seconds", "a_bytes_total", "a_per_second", "b_total", "c"]
    for name in names:
        kind = Counter if name.endswith("_total") else Gauge
        kind(name, "d", registry=registry)
    lines = Lines("n", [Chosen(name) for name in names])

    [line] = map(check, lines.make(registry.collect(), now_ms=NOW_MS))

    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert {m["Name"]: m.get("Unit") for m in directive["Metrics"]} == {
        "a_seconds": "Seconds",
        "a_bytes_total": "Bytes",
        "a_per_second": "Count/Second",
        "b_total": "Count",
        "c": None,
    }


@given(st.lists(st.floats(min_value=0, max_value=10), max_size=20))
def test_no_observation_is_lost_or_counted_twice(seconds: list[float]) -> None:
    made = Fixture()
    counted = 0.0
    for each in seconds:
        made.wait.labels("image").observe(each)
        for line in made.make():
            counted += sum(line.get("wait_seconds", {}).get("Counts", []))

    assert counted == len(seconds)


@pytest.mark.parametrize("text", ["media", "team/detection", "a.b-c_d#e:f", "x" * 255])
def test_namespaces_that_cloudwatch_takes(text: str) -> None:
    assert is_namespace(text)


@pytest.mark.parametrize("text", ["", "AWS/SQS", "a b", "ü", "x" * 256, "a\n"])
def test_namespaces_that_cloudwatch_refuses(text: str) -> None:
    assert not is_namespace(text)


# -- writing --------------------------------------------------------------------------------------


def test_lines_are_written_again_and_again_and_at_the_end(
    made: Fixture, capsys: pytest.CaptureFixture[str]
) -> None:
    made.depth.set(1)
    with reporting(made.lines, made.registry.collect, interval_s=0.02):
        until_s = time.monotonic() + 30
        written = ""
        while written.count("\n") < 2 and time.monotonic() < until_s:
            time.sleep(0.01)
            written += capsys.readouterr().out
        made.jobs.labels("image", "a").inc()
    lines = written.splitlines()
    last = [check(line) for line in capsys.readouterr().out.splitlines()]

    assert len(lines) >= 2
    assert all(check(line)["depth_seconds"] == 1.0 for line in lines)
    assert sum(line.get("jobs_total", 0.0) for line in last) == 1.0


def test_without_lines_nothing_is_written(
    made: Fixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with reporting(None, made.registry.collect):
        pass

    assert capsys.readouterr().out == ""


def test_a_failure_is_logged_and_stops_nothing(
    made: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Iterator[Any]:
        raise OSError("no registry")

    with reporting(made.lines, broken):
        pass

    assert caplog.messages == ["metrics were not written"]
    assert emf.INTERVAL_S == 60


def test_a_standard_output_that_takes_nothing_stops_nothing(
    made: Fixture, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr("sys.stdout", full)
        with reporting(made.lines, made.registry.collect):
            made.depth.set(1)
        monkeypatch.undo()
        with suppress(OSError):
            full.close()

    [message] = caplog.messages
    assert "standard output, which must lead to CloudWatch" in message


def test_a_standard_output_that_nobody_reads_does_not_keep_the_process(
    made: Fixture, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    os.set_blocking(writer, True)
    monkeypatch.setattr(emf, "LAST_S", 0.2)

    with open(writer, "w") as full:  # noqa: PTH123 - a pipe
        monkeypatch.setattr("sys.stdout", full)
        with reporting(made.lines, made.registry.collect):
            made.depth.set(1)
        monkeypatch.undo()
        assert caplog.messages == ["nobody reads standard output: the last metrics are lost"]

        with open(reader, "rb") as read:  # noqa: PTH123 - it may end now
            while b"depth_seconds" not in read.read1(1 << 20):
                pass
