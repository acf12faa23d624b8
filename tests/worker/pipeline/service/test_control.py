"""The control server: probes, state, steering and metrics over real HTTP."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests

from detection_worker.metrics import Metrics, exemplar
from detection_worker.pipeline.service.control import Controls, serve


@dataclass
class Steered:
    healthy: bool = True
    ready: bool | str = "loading models"
    calls: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    url: str = ""

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, timeout=5, headers=headers)

    def post(self, path: str) -> requests.Response:
        return requests.post(self.url + path, timeout=5)


@pytest.fixture
def steered() -> Iterator[Steered]:
    s = Steered()
    server = serve(
        Controls(
            health=lambda: {"polling": s.healthy},
            readiness=lambda: {"models": s.ready},
            state=lambda: {"busy": False, "calls": s.calls},
            drain=lambda: s.calls.append("drain"),
            resume=lambda: s.calls.append("resume"),
            registry=s.metrics.registry,
            refresh=lambda: s.metrics.in_flight.set(3),
        ),
        host="127.0.0.1",
        port=0,
    )
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
