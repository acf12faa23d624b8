"""The metrics of several processes, shown as those of one worker."""

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.exposition import choose_encoder

from detection_contract.process.emf import Lines
from detection_worker.metrics import EMF, Metrics, exemplar
from detection_worker.pipeline.service.feeders.series import (
    GAUGES,
    MergedSeries,
    added,
    families_of,
    lasting,
)

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def over_the_wire(metrics: Metrics) -> Any:
    return json.loads(json.dumps(families_of(metrics.registry)))


def worker(*sources: Any, feeders: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(MergedSeries(lambda: sources, feeders=feeders))
    return registry


@pytest.fixture
def three() -> tuple[Metrics, Metrics, Metrics]:
    """The main process and two feeders."""
    return Metrics(), Metrics(), Metrics()


def test_every_gauge_has_a_rule() -> None:
    gauges = [m for m in Metrics().registry.collect() if m.type == "gauge"]

    assert {m.name for m in gauges} == set(GAUGES)


def test_a_worker_shows_the_series_of_one_process(three: tuple[Metrics, ...]) -> None:
    def names(registry: CollectorRegistry) -> list[tuple[str, str, str]]:
        return [(m.name, m.type, m.documentation) for m in registry.collect()]

    merged = worker(*map(over_the_wire, three), feeders=2)

    assert names(merged) == names(Metrics().registry)


def test_counters_and_histograms_add_up(three: tuple[Metrics, ...]) -> None:
    _, one, two = three
    one.messages.labels("deleted").inc(3)
    two.messages.labels("deleted").inc(4)
    two.messages.labels("retried").inc()
    one.stage_seconds.labels("decode").observe(0.02)
    two.stage_seconds.labels("decode").observe(20.0)

    found = worker(*map(over_the_wire, three), feeders=2)

    def value(name: str, **labels: str) -> float | None:
        return found.get_sample_value(f"detection_worker_{name}", labels)

    assert value("messages_total", outcome="deleted") == 7
    assert value("messages_total", outcome="retried") == 1
    assert value("messages_total", outcome="kept") == 0
    assert value("stage_seconds_count", stage="decode") == 2
    assert value("stage_seconds_sum", stage="decode") == pytest.approx(20.02)
    assert value("stage_seconds_bucket", stage="decode", le="0.025") == 1
    assert value("stage_seconds_bucket", stage="decode", le="+Inf") == 2


def test_gauges_follow_their_rules(three: tuple[Metrics, ...]) -> None:
    main, one, two = three
    main.ready.set(1)
    main.draining.set(1)
    for metrics, held in ((one, 2.0), (two, 5.0)):
        metrics.in_flight.set(held)
        metrics.held_seconds.set(held)
        metrics.last_poll_age.set(held)
        metrics.stage_busy.labels("decode").set(held)
    one.service_seconds.labels("image").set(1.0)
    one.sustainable_rate.labels("image").set(1.0)
    one.outbox.circuits_open.set(2)

    found = worker(*map(over_the_wire, three), feeders=2)

    def value(name: str, **labels: str) -> float | None:
        return found.get_sample_value(f"detection_worker_{name}", labels)

    assert (value("ready"), value("draining")) == (1, 1)
    assert (value("in_flight"), value("held_work_seconds")) == (7, 5)
    assert value("last_poll_age_seconds") == 5
    assert value("stage_busy", stage="decode") == 7
    assert value("service_seconds", kind="image") == 0.5
    assert value("sustainable_messages_per_second", kind="image") == 2
    assert value("callback_circuits_open") == 2


def test_what_a_dead_feeder_counted_stays_and_its_gauges_go(three: tuple[Metrics, ...]) -> None:
    main, dead, lives = three
    dead.messages.labels("deleted").inc(3)
    dead.in_flight.set(9)
    lives.messages.labels("deleted").inc(1)
    lives.in_flight.set(1)
    twice = added(lasting(over_the_wire(dead)), lasting(over_the_wire(dead)))

    found = worker(over_the_wire(main), twice, over_the_wire(lives), feeders=1)

    assert found.get_sample_value("detection_worker_messages_total", {"outcome": "deleted"}) == 7
    assert found.get_sample_value("detection_worker_in_flight") == 1


def test_the_newest_exemplar_is_kept(three: tuple[Metrics, ...]) -> None:
    _, one, two = three
    two.jobs.labels("image", "FAKE", "fake").inc(exemplar=dict(exemplar("older")))
    one.jobs.labels("image", "FAKE", "fake").inc(exemplar=dict(exemplar("newer")))

    text = choose_encoder(OPEN_METRICS)[0](worker(*map(over_the_wire, three), feeders=2)).decode()

    (line,) = [t for t in text.splitlines() if "detection_worker_jobs_total{" in t]
    assert line.split(" ")[1:5] == ["2.0", "#", '{request_id="newer"}', "1.0"]


def test_a_counter_began_with_the_first_process(three: tuple[Metrics, ...]) -> None:
    def created(metrics: Metric) -> float:
        return next(s.value for s in metrics.samples if s.name.endswith("_created"))

    began = [created(next(iter(m.feeder_restarts.collect()))) for m in three]
    merged = worker(*map(over_the_wire, three), feeders=2).collect()
    restarts = next(m for m in merged if m.name == "detection_worker_feeder_restarts")

    assert created(restarts) == min(began)


def test_a_gauge_without_a_rule_is_an_error() -> None:
    registry = CollectorRegistry()
    Gauge("detection_worker_new", "New.", registry=registry)

    with pytest.raises(KeyError):
        list(worker(families_of(registry), feeders=1).collect())


def test_cloudwatch_is_told_of_all_processes_as_one(three: tuple[Metrics, ...]) -> None:
    for metrics in three[1:]:
        metrics.failures.labels("timeout").inc(2)
        metrics.job_seconds.labels("image").observe(0.2)
    registry = worker(*map(over_the_wire, three), feeders=2)
    lines = Lines("n", EMF, {"QueueName": "q"})

    told = [json.loads(line) for line in lines.make(registry.collect(), now_ms=1)]
    again = [json.loads(line) for line in lines.make(registry.collect(), now_ms=2)]

    [whole] = [line for line in told if "detection_worker_failures_total" in line]
    assert whole["detection_worker_failures_total"] == 4
    seconds = whole["detection_worker_job_seconds"]
    assert (seconds["Values"], seconds["Counts"], seconds["Sum"]) == ([0.25], [2], 0.5)
    [whole] = [line for line in again if "detection_worker_failures_total" in line]
    assert whole["detection_worker_failures_total"] == 0
