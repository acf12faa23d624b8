"""A manifest to start from."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from detection_operator.resource import parse_spec
from detection_operator.spec.queue_spec import QueueSpec

MINIMAL: Mapping[str, Any] = {
    "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
    "worker": {"deploymentRef": {"name": "video-worker"}},
}


@pytest.fixture
def minimal() -> dict[str, Any]:
    return {name: dict(value) for name, value in MINIMAL.items()}


@pytest.fixture
def spec_of(minimal: dict[str, Any]) -> Callable[..., QueueSpec]:
    def build(**parts: Any) -> QueueSpec:
        return parse_spec({**minimal, **parts})

    return build
