"""The control server: probes, state, steering and metrics over real HTTP."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests

from detection_worker.metrics import Metrics, exemplar
from detection_worker.pipeline.service.control import Controls, serve, shown_outside
from detection_worker.settings import ConsumerSettings


@dataclass
class Steered:
    healthy: bool = True
    ready: bool | str = "loading models"
    calls: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    url: str = ""

    def controls(self) -> Controls:
        return Controls(
            health=lambda: {"polling": self.healthy},
            readiness=lambda: {"models": self.ready},
            state=lambda: {"busy": False, "calls": self.calls},
            drain=lambda: self.calls.append("drain"),
            resume=lambda: self.calls.append("resume"),
            registry=self.metrics.registry,
            refresh=lambda: self.metrics.in_flight.set(3),
        )

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, timeout=5, headers=headers)

    def post(self, path: str) -> requests.Response:
        return requests.post(self.url + path, timeout=5)


@pytest.fixture
def steered() -> Iterator[Steered]:
    s = Steered()
    server = serve(s.controls(), host="127.0.0.1", port=0)
    s.url = f"http://127.0.0.1:{server.port}"
    yield s
    server.close()


def test_healthz_answers_200_while_everything_lives_and_503_otherwise(steered: Steered) -> None:
    assert steered.get("/healthz").status_code == 200

    steered.healthy = False

    answer = steered.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "failing", "checks": {"polling": False}}


def test_readyz_says_what_it_waits_for(steered: Steered) -> None:
    waiting = steered.get("/readyz")
    steered.ready = True

    assert waiting.status_code == 503
    assert waiting.json()["checks"] == {"models": "loading models"}
    assert steered.get("/readyz").status_code == 200


def test_drain_and_resume_are_posts_that_answer_with_the_state(steered: Steered) -> None:
    assert steered.get("/drain").status_code == 405
    assert steered.calls == []

    assert steered.post("/drain").json() == {"busy": False, "calls": ["drain"]}
    assert steered.post("/resume").json()["calls"] == ["drain", "resume"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/healthz/x"])
def test_other_paths_are_not_found(steered: Steered, path: str) -> None:
    assert steered.get(path).status_code == 404
    assert steered.post(path).status_code == 404


def test_metrics_are_fresh_and_carry_the_request_as_exemplar(steered: Steered) -> None:
    steered.metrics.jobs.labels("image", "FAKE", "fake").inc(exemplar=dict(exemplar("req-1")))

    plain = steered.get("/metrics")
    open_metrics = steered.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")

    assert "detection_worker_in_flight 3.0" in plain.text
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert '# {request_id="req-1"}' in open_metrics.text


def test_a_long_request_id_still_fits_an_exemplar(steered: Steered) -> None:
    steered.metrics.jobs.labels("image", "REAL", "real").inc(exemplar=dict(exemplar("x" * 256)))

    assert steered.get("/metrics", Accept="application/openmetrics-text").status_code == 200


def test_every_series_has_the_prefix_and_a_unit_or_count(steered: Steered) -> None:
    names = {m.name for m in steered.metrics.registry.collect()}

    assert names
    assert all(n.startswith("detection_worker_") for n in names)


def test_state_is_json(steered: Steered) -> None:
    assert json.loads(steered.get("/state").text)["busy"] is False


# -- CloudWatch -----------------------------------------------------------------------------------

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/media"


def test_metrics_are_written_for_cloudwatch_under_the_queue_s_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steered = Steered()
    with shown_outside(
        steered.controls(), ConsumerSettings(queue_url=QUEUE_URL, emf_namespace="team/detection")
    ):
        steered.metrics.failures.labels("bad_media").inc(2)
        steered.metrics.failures.labels("timeout").inc()

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["QueueName"] for line in told} == {"media"}
    [whole] = [line for line in told if "detection_worker_failures_total" in line]
    # Brought up to date first, as for Prometheus.
    assert (whole["detection_worker_failures_total"], whole["detection_worker_in_flight"]) == (
        3,
        3,
    )
    [directive] = whole["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "team/detection"


def test_nothing_is_written_for_cloudwatch_unless_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with shown_outside(Steered().controls(), ConsumerSettings(queue_url=QUEUE_URL)):
        pass

    assert capsys.readouterr().out == ""
