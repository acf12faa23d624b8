"""Stages for scenarios: one in memory, one on a real API server."""

import contextlib
import uuid
from collections.abc import Callable, Iterator

import pytest

from detection_operator.kube.rest import Rest
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.stage import Stage


@pytest.fixture(
    params=["memory", pytest.param("apiserver", marks=[pytest.mark.cluster, pytest.mark.slow])]
)
def make_stage(request: pytest.FixtureRequest) -> Iterator[Callable[[], Stage]]:
    """Make stages on the cluster in memory, and on a real API server where there is one."""
    if request.param == "memory":
        yield Stage
        return
    server: ApiServer = request.getfixturevalue("api_server")
    if not server.controllers:
        pytest.skip("NO CONTROLLERS: kube-controller-manager not found beside kube-apiserver")
    with contextlib.ExitStack() as stack:

        def make() -> Stage:
            operator, admin = Rest(server.configuration()), Rest(server.configuration())
            stack.callback(operator.close)
            stack.callback(admin.close)
            scene = ApiScene(operator, admin, f"stage-{uuid.uuid4().hex[:8]}")
            made = Stage(cluster=scene)
            made.server = server
            return made

        yield make
