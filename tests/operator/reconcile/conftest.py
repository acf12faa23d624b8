"""Stages for scenarios: one in memory, one on a real API server."""

from collections.abc import Callable

import pytest

from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.stage import Stage


@pytest.fixture
def stage_type() -> type[Stage]:
    """What ``make_stage`` makes."""
    return Stage


@pytest.fixture
def make_stage(
    request: pytest.FixtureRequest,
    make_scene: Callable[[], ApiScene] | None,
    stage_type: type[Stage],
) -> Callable[[], Stage]:
    """Make stages on the cluster in memory, and on a real API server where there is one."""
    if make_scene is None:
        return stage_type

    def make() -> Stage:
        stage = stage_type(cluster=make_scene())
        stage.server = request.getfixturevalue("api_server")
        return stage

    return make
