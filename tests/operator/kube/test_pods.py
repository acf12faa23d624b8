from typing import Any

import pytest

from detection_operator.kube.pods.complaints import is_about_image
from detection_operator.kube.pods.events import Sign, by_pod
from detection_operator.kube.pods.views import failed_pods, pod_views


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


def ended(at: str, *, restarts: int, state: str = "lastState") -> dict[str, Any]:
    return {"restartCount": restarts, state: {"terminated": {"exitCode": 1, "finishedAt": at}}}


@pytest.mark.parametrize(
    ("containers", "crashed_s"),
    [
        pytest.param([ended("1970-01-01T00:05:00Z", restarts=2)], 300.0, id="between two runs"),
        pytest.param(
            [ended("1970-01-01T00:06:00Z", restarts=2, state="state")], 360.0, id="just ended"
        ),
        pytest.param([ended("1970-01-01T00:05:00Z", restarts=1)], None, id="one restart"),
        pytest.param(
            [
                ended("1970-01-01T00:05:00Z", restarts=7),
                {"restartCount": 0, "state": {"running": {"startedAt": "1970-01-01T00:01:00Z"}}},
            ],
            300.0,
            id="another container runs",
        ),
        pytest.param([{"restartCount": 3}], None, id="an end that the status forgot"),
        pytest.param([{"restartCount": None, "lastState": None, "state": None}], None, id="nulls"),
    ],
)
def test_a_container_that_ends_again_and_again_is_noticed(
    containers: list[dict[str, Any]], crashed_s: float | None
) -> None:
    views = pod_views([pod(containerStatuses=containers), pod(initContainerStatuses=containers)])

    assert [view.crashed_s for view in views] == [crashed_s, crashed_s]


@pytest.mark.parametrize(
    ("reason", "about_image"),
    [
        ("ErrImagePull", True),
        ("ImagePullBackOff", True),
        ("InvalidImageName", True),
        ("ErrImageNeverPull", True),
        ("RegistryUnavailable", True),
        ("SignatureValidationFailed", True),
        ("CrashLoopBackOff", False),
        ("CreateContainerConfigError", False),
        ("", False),
    ],
)
def test_reasons_about_images_are_told_from_others(reason: str, *, about_image: bool) -> None:
    assert is_about_image(reason) is about_image


CRASHING = {
    "containerStatuses": [
        {
            "name": "worker",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        }
    ]
}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(
            CRASHING,
            "CrashLoopBackOff: back-off 20s; last end: OOMKilled, exit code 137",
            id="a worker that crashes",
        ),
        pytest.param(
            {"initContainerStatuses": [{"name": "fetch", **waiting("ErrImagePull")}]},
            "ErrImagePull; init container fetch",
            id="a container before it",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    {
                        "state": {
                            "terminated": {"exitCode": 2, "reason": "Error", "message": "a\nb"}
                        }
                    }
                ]
            },
            "Error: a b; last end: Error, exit code 2",
            id="one that ended just now",
        ),
    ],
)
def test_a_pod_that_does_not_work_says_why(status: dict[str, Any], words: str) -> None:
    (view,) = pod_views([{**pod(**status), "spec": {"nodeName": "node-1"}}])

    assert view.words == words


def test_a_pod_without_a_node_says_what_it_waits_for() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    (unseen,), (held,) = pod_views([pod()]), pod_views([pod(conditions=[gated])])

    assert (unseen.words, held.words) == ("no scheduler has looked at it", "SchedulingGated")
    assert not unseen.admitted


@pytest.mark.parametrize(
    ("status", "reason", "words", "was_ready"),
    [
        pytest.param(
            {"reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough"},
            "OutOfcpu",
            "OutOfcpu: Pod was rejected: Node didn't have enough",
            False,
            id="rejected",
        ),
        pytest.param(
            {
                "startTime": "2026-01-01T00:00:10Z",
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "TerminationByKubelet",
                        "message": "shutdown",
                        "lastTransitionTime": "2026-01-01T01:00:00Z",
                    },
                    {
                        "type": "Ready",
                        "status": "False",
                        "lastTransitionTime": "2026-01-01T01:00:00Z",
                    },
                ],
            },
            "TerminationByKubelet",
            "TerminationByKubelet: shutdown",
            True,
            id="ended with its node after an hour",
        ),
        pytest.param({}, "Failed", "Failed", False, id="without a word"),
    ],
)
def test_a_failed_pod_is_no_worker_and_says_why(
    status: dict[str, Any], reason: str, words: str, *, was_ready: bool
) -> None:
    item = pod(**{**status, "phase": "Failed"})
    (found,) = failed_pods([item])

    assert pod_views([item]) == []
    assert (found.reason, found.words, found.was_ready) == (reason, words, was_ready)


def test_events_of_both_interfaces_are_read_the_newest_first() -> None:
    about = {"kind": "Pod", "uid": "1"}
    old = {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "involvedObject": about,
        "type": "Normal",
        "reason": "TriggeredScaleUp",
        "message": "pod triggered scale-up",
        "lastTimestamp": "2026-01-01T00:05:00Z",
        "source": {"component": "cluster-autoscaler"},
    }
    new = {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "involvedObject": about,
        "type": "Warning",
        "reason": "FailedScheduling",
        "message": "0/3 nodes are available",
        "eventTime": "2026-01-01T00:00:01.5Z",
        "series": {"count": 9, "lastObservedTime": "2026-01-01T00:06:00.5Z"},
        "lastTimestamp": None,
        "source": {},
        "reportingComponent": "default-scheduler",
    }

    scheduler, autoscaler = by_pod([old, new, {"metadata": {}}])["1"]

    assert (scheduler.reason, scheduler.sign) == ("FailedScheduling", None)
    assert scheduler.at_s - autoscaler.at_s == 60.5
    assert autoscaler.sign is Sign.COMING
    assert autoscaler.words == "TriggeredScaleUp: pod triggered scale-up"
