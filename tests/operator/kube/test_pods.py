from typing import Any

import pytest

from detection_operator.kube.pods import pod_views


def pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "video-1", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Pending", **status},
    }


def waiting(reason: str) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason}}}


@pytest.mark.parametrize(
    ("status", "broken"),
    [
        pytest.param(
            {"containerStatuses": [waiting("ErrImagePull")]}, "ErrImagePull", id="the worker"
        ),
        pytest.param(
            {
                "initContainerStatuses": [waiting("CrashLoopBackOff")],
                "containerStatuses": [waiting("PodInitializing")],
            },
            "CrashLoopBackOff",
            id="a container before it",
        ),
        pytest.param(
            {
                "initContainerStatuses": [{"state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [waiting("ContainerCreating")],
            },
            "",
            id="none",
        ),
        pytest.param(
            {"initContainerStatuses": None, "containerStatuses": None}, "", id="nothing known"
        ),
    ],
)
def test_a_pod_is_broken_when_any_of_its_containers_cannot_start(
    status: dict[str, Any], broken: str
) -> None:
    (view,) = pod_views([pod(**status)])

    assert view.broken == broken
