"""Traces of the running operator on a real API server, as a collector gets them."""

from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.errors import InvalidSettings
from detection_operator.runtime.operator import Operator
from detection_operator.settings import OperatorSettings
from detection_testing.otlp import http_collector
from detection_testing.scenes.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PATIENCE_S = 60.0


def test_a_reconcile_is_a_span_with_its_decision_reads_and_writes(
    site: Site, running: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_collector() as collector:
        for name, value in collector.environment().items():
            monkeypatch.setenv(name, value)
        key = site.create_queue("traced", manual=2)
        operator, outcome = running()

        def writes() -> bool:
            return bool(collector.named("PATCH Kubernetes"))

        assert site.live(PATIENCE_S, until=writes)
        collector.wait_for("reconcile DetectionQueue", 2)
        operator.stop()
        outcome.thread.join(30)

    decided = [
        s
        for s in collector.named("reconcile DetectionQueue")
        if s.attributes.get("detection_queue.wanted", 0) > 0
    ]
    assert decided
    about = decided[0].attributes
    assert about["k8s.namespace.name"] == key.namespace
    assert about["k8s.resource.name"] == "traced"
    assert about["detection_queue.rule"]
    assert about["detection_queue.reason"]
    assert decided[0].parent_id == ""
    assert decided[0].resource["service.name"] == "detection-operator"
    spans = {s.span_id: s for s in collector.spans}
    for name in ("read queue", "PATCH Kubernetes"):
        parents = {spans[s.parent_id].name for s in collector.named(name)}
        assert parents == {"reconcile DetectionQueue"}
    assert not collector.named("GET Kubernetes")


def test_traces_that_cannot_be_exported_are_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "jaeger")

    with pytest.raises(InvalidSettings, match="OTEL_TRACES_EXPORTER=jaeger is not supported"):
        Operator(OperatorSettings(port=0))
