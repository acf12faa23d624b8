"""A node pool that keeps failing is told by its own events, whatever is announced next."""

from typing import Any

import pytest

from detection_operator.kube.objects import timestamp
from detection_operator.kube.pods.events import Sign, by_pod, with_claims
from detection_operator.kube.pods.views import pod_views
from detection_operator.reconcile.observe.fleet import Worker
from detection_operator.reconcile.observe.trouble import said_of, sign_of
from detection_testing.scenes.node_pool import pod_event

NOON_S = 1_767_268_800.0
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "default", "uid": "1"},
    "spec": {},
    "status": {},
}
NO_ROOM = "creating instance, insufficient capacity, with fleet error(s), ICE"


def nominated(claim: str, at_s: float) -> dict[str, Any]:
    message = f"Pod should schedule on: nodeclaim/{claim}"
    return pod_event(POD, "Nominated", message, NOON_S + at_s, component="karpenter")


def failed(claim: str, at_s: float) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{claim}.1", "namespace": "default"},
        "involvedObject": {"kind": "NodeClaim", "name": claim},
        "type": "Warning",
        "reason": "InsufficientCapacityError",
        "message": f"NodeClaim {claim} event: {NO_ROOM}",
        "lastTimestamp": timestamp(NOON_S + at_s),
        "source": {"component": "karpenter"},
    }


def worker(pods: list[dict[str, Any]], claims: list[dict[str, Any]]) -> Worker:
    events = with_claims(by_pod(pods), claims)
    return Worker(pod_views([POD])[0], None, events=events.get("1", ()))


@pytest.mark.parametrize(
    ("claims", "sign"),
    [
        pytest.param([], Sign.COMING, id="none failed"),
        pytest.param([failed("gpu-aaaaa", 3)], Sign.FAILED, id="the last one failed"),
        pytest.param([failed("gpu-zzzzz", -60)], Sign.FAILED, id="one before failed"),
        pytest.param([failed("gpu-zzzzz", -600)], Sign.COMING, id="one failed long ago"),
        pytest.param([failed("cpu-bbbbb", 3)], Sign.COMING, id="another pool failed"),
        pytest.param([failed("gpu-spot-ccccc", 3)], Sign.COMING, id="a pool of a longer name"),
    ],
)
def test_a_nomination_that_follows_a_failure_promises_nothing(
    claims: list[dict[str, Any]], sign: Sign
) -> None:
    found = sign_of(worker([nominated("gpu-aaaaa", 0)], claims))

    assert found is not None
    assert found.sign is sign


def test_the_status_says_why_no_node_comes() -> None:
    waiting = worker([nominated("gpu-aaaaa", 0)], [failed("gpu-aaaaa", 2)])

    assert NO_ROOM in said_of(waiting)


def test_a_failed_scale_up_of_gke_is_no_promise_and_not_hopeless() -> None:
    coming = pod_event(POD, "TriggeredScaleUp", "0->1", NOON_S)
    out = pod_event(POD, "FailedScaleUp", "GCE out of resources", NOON_S + 60)
    waiting = worker([coming, out], [])

    found = sign_of(waiting)

    assert found is not None
    assert found.sign is Sign.FAILED
    assert "GCE out of resources" in said_of(waiting)
