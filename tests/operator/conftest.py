"""A manifest to start from, and clusters in memory and real."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_operator.crd.manifest import GROUP, PLURAL, POOL_PLURAL, VERSION
from detection_operator.errors import ClusterError
from detection_operator.kube.rest import Rest
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.queue_spec import QueueSpec
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries, User, running
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.world import World

CHART = Path(__file__).parents[2] / "charts" / "detection-queue"

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


OPERATOR = User(token="operator-token", name="operator")


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """A real API server with the CRDs; skips, loudly, where there is none."""
    try:
        context = running([OPERATOR])
        server = context.__enter__()
    except NoBinaries as exc:
        pytest.skip(str(exc))
    try:
        admin = Rest(server.configuration())
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for plural in (PLURAL, POOL_PLURAL):
            text = (CHART / "files" / f"{plural}.yaml").read_text(encoding="utf-8")
            admin.call("POST", path, yaml.safe_load(text))
        for plural in (PLURAL, POOL_PLURAL):
            wait_until_served(admin, plural)
        admin.close()
        yield server
    finally:
        context.__exit__(None, None, None)


def wait_until_served(admin: Rest, plural: str) -> None:
    for _ in range(100):
        try:
            admin.call("GET", f"/apis/{GROUP}/{VERSION}/{plural}")
        except ClusterError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{plural} are not served")


@pytest.fixture(
    params=["memory", pytest.param("apiserver", marks=[pytest.mark.cluster, pytest.mark.slow])]
)
def make_scene(request: pytest.FixtureRequest) -> Iterator[Callable[[], ApiScene] | None]:
    """Make scenes of a real API server; None for the cluster in memory."""
    if request.param == "memory":
        yield None
        return
    server: ApiServer = request.getfixturevalue("api_server")
    if not server.controllers:
        pytest.skip("NO CONTROLLERS: kube-controller-manager not found beside kube-apiserver")
    with contextlib.ExitStack() as stack:

        def make() -> ApiScene:
            operator, admin = Rest(server.configuration()), Rest(server.configuration())
            stack.callback(operator.close)
            stack.callback(admin.close)
            return ApiScene(operator, admin, f"scene-{uuid.uuid4().hex[:8]}")

        yield make


@pytest.fixture
def make_world(make_scene: Callable[[], ApiScene] | None) -> Callable[[], World]:
    """Make worlds on the cluster in memory, and on a real API server where there is one."""
    return World if make_scene is None else lambda: World(cluster=make_scene())
