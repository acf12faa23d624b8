"""The chart's `tracing`: the same variables for operator, deliver and workers of its queues."""

from collections.abc import Callable
from typing import Any

import pytest

from detection_tracing.environment import Asked, asked

Render = Callable[..., list[dict[str, Any]]]
QUEUE = {
    "name": "media",
    "spec": {
        "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/media"},
        "worker": {"template": {"env": [{"name": "OTEL_TRACES_SAMPLER", "value": "always_off"}]}},
    },
}
OUTBOX = {"name": "media", "queueURL": "https://sqs.eu-west-1.amazonaws.com/123456789012/outbox"}
VALUES = {
    "networkPolicy": {"enabled": True},
    "queues": [QUEUE],
    "deliver": {"enabled": True, "outboxes": [OUTBOX]},
}


def variables(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, str]:
    """Return the variables of OpenTelemetry in a Deployment, or in the template of a queue."""
    [found] = [o for o in objects if o["kind"] == kind and name in o["metadata"]["name"]]
    if kind == "DetectionQueue":
        env = found["spec"]["worker"]["template"].get("env", [])
    else:
        env = found["spec"]["template"]["spec"]["containers"][0]["env"]
    return {e["name"]: e["value"] for e in env if e["name"].startswith("OTEL_")}


def egress_ports(objects: list[dict[str, Any]]) -> list[list[int]]:
    [policy] = [
        o
        for o in objects
        if o["kind"] == "NetworkPolicy" and o["metadata"]["name"].endswith("operator")
    ]
    return [[p["port"] for p in rule["ports"]] for rule in policy["spec"]["egress"]]


def test_one_value_gives_traces_of_operator_deliver_and_workers(render: Render) -> None:
    tracing = {
        "endpoint": "http://otel-collector.observability:4317",
        "sampler": "parentbased_traceidratio",
        "samplerArg": "0.1",
        "resourceAttributes": {"team": "media, video", "deployment.environment.name": "a=b"},
    }

    objects = render(VALUES | {"tracing": tracing})

    expected = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector.observability:4317",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=a%3Db,team=media%2C%20video",
    }
    assert variables(objects, "Deployment", "operator") == expected
    assert variables(objects, "Deployment", "deliver") == expected
    # What a queue says itself wins.
    own = expected | {"OTEL_TRACES_SAMPLER": "always_off"}
    assert variables(objects, "DetectionQueue", "media") == own
    assert asked(expected) == Asked(by="OTEL_EXPORTER_OTLP_ENDPOINT", protocol="grpc")
    assert [4317] in egress_ports(objects)


def test_without_an_endpoint_nothing_asks_for_traces(render: Render) -> None:
    objects = render(VALUES | {"tracing": {"sampler": "always_on"}})

    assert variables(objects, "Deployment", "operator") == {}
    assert variables(objects, "Deployment", "deliver") == {}
    assert variables(objects, "DetectionQueue", "media") == {"OTEL_TRACES_SAMPLER": "always_off"}
    assert egress_ports(objects) == egress_ports(render(VALUES))


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector", 80),
        ("https://collector/path", 443),
        ("http://collector:4318/", 4318),
        ("http://[fd00::1]:4318", 4318),
    ],
)
def test_the_operator_may_reach_the_port_of_the_collector(
    render: Render, endpoint: str, port: int
) -> None:
    assert [port] in egress_ports(render(VALUES | {"tracing": {"endpoint": endpoint}}))
