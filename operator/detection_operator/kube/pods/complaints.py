"""Why a pod is not running, from its status, in the cluster's own words. Pure.

There is no list of reasons: kubelets, runtimes and device plugins add new ones. A container that
waits for anything but its turn has a problem.
"""

from collections.abc import Iterator
from typing import Any, Final

from detection_operator.kube.objects import condition, time_s
from detection_operator.kube.port import Object

TURN: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons of containers that wait normally."""
CRASHES: Final = 2
"""A container that has restarted so often may well end again; one restart can be bad luck."""
WORDS_MAX: Final = 300
"""Characters of a message: a container runtime's may be a page long."""


def broken(status: Object) -> tuple[str, str]:
    """Return the reason why a container cannot start, and the words with it; empty when it can."""
    for name, container in _containers(status):
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if str(waiting.get("reason") or "") not in TURN:
            reason = str(waiting["reason"])
            last = (container.get("lastState") or {}).get("terminated") or {}
            return reason, _words(name, reason, waiting.get("message"), _end(last))
        if ended.get("exitCode"):
            reason = str(ended.get("reason") or "Error")
            return reason, _words(name, reason, ended.get("message"), _end(ended))
    return "", ""


def is_about_image(reason: str) -> bool:
    """Say whether a container waits for its image, by the kubelet's reason.

    The kubelet's reasons are ErrImagePull, ImagePullBackOff, ErrImageNeverPull, InvalidImageName,
    ImageInspectError, and those of the two that do not say it.
    """
    return "Image" in reason or reason in {"RegistryUnavailable", "SignatureValidationFailed"}


def crashed_s(status: Object) -> float | None:
    """Return when a container last ended that ends again and again; None if there is none."""
    ends = [
        time_s(((container.get(state) or {}).get("terminated") or {}).get("finishedAt"))
        for _, container in _containers(status)
        if (container.get("restartCount") or 0) >= CRASHES
        for state in ("state", "lastState")
    ]
    return max((at_s for at_s in ends if at_s is not None), default=None)


def stage(pod: Object) -> str:
    """Return how far a pod that is not ready has come, in the cluster's words where it has any."""
    status = pod.get("status", {})
    scheduled = condition(pod, "PodScheduled")
    if not pod.get("spec", {}).get("nodeName"):
        if scheduled is None:
            return "no scheduler has looked at it"
        return _joined(scheduled.get("reason") or "not scheduled", scheduled.get("message"))
    for name, container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return _words(name, str(waiting["reason"]), waiting.get("message"))
    if not is_admitted(status):
        return "no kubelet has taken it in"
    ready = condition(pod, "Ready") or {}
    if status.get("phase") == "Running":
        return _joined("running but not ready", ready.get("message"))
    return _joined(ready.get("reason") or str(status.get("phase")), ready.get("message"))


def failure(pod: Object) -> tuple[str, str]:
    """Return the reason why a pod has failed, and the words with it."""
    status = pod.get("status", {})
    reason = str(status.get("reason") or "")
    if reason:
        return reason, _joined(reason, status.get("message"))
    disrupted = condition(pod, "DisruptionTarget") or {}
    if disrupted.get("status") == "True" and disrupted.get("reason"):
        return str(disrupted["reason"]), _joined(disrupted["reason"], disrupted.get("message"))
    found, words = broken(status)
    return (found, words) if found else ("Failed", _joined("Failed", status.get("message")))


def is_admitted(status: Object) -> bool:
    """Say whether a kubelet has admitted the pod: one that rejects it sets Failed at once."""
    if status.get("phase") != "Pending":
        return status.get("phase") == "Running"
    begun = status.get("startTime") or status.get("podIP") or status.get("containerStatuses")
    return bool(begun or status.get("initContainerStatuses"))


def shortened(text: Any) -> str:
    """Return a text in one line, at most ``WORDS_MAX`` characters of it."""
    line = " ".join(str(text or "").split())
    return line if len(line) <= WORDS_MAX else line[: WORDS_MAX - 1] + "…"


def _containers(status: Object) -> Iterator[tuple[str, Object]]:
    """Yield the containers in the order in which they start, the name of init containers only."""
    for item in status.get("initContainerStatuses") or ():
        yield f"init container {item.get('name', '?')}", item
    for item in status.get("containerStatuses") or ():
        yield "", item


def _end(terminated: Object) -> str:
    if "exitCode" not in terminated:
        return ""
    reason = terminated.get("reason") or "ended"
    return f"last end: {reason}, exit code {terminated['exitCode']}"


def _words(container: str, reason: str, message: Any, end: str = "") -> str:
    return shortened(
        "; ".join(part for part in (_joined(reason, message), end, container) if part)
    )


def _joined(reason: Any, message: Any) -> str:
    return shortened(f"{reason}: {message}" if message else reason)
