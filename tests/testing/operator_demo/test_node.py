"""Pods become processes, and end with them."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_contract import environment as env
from detection_operator.kube.pods.views import pod_views
from detection_testing.operator_demo.container import LOOPBACK, PORTS, environment, free_port
from detection_testing.operator_demo.node import Node

Turn = Callable[[Callable[[], bool]], None]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_pod_runs_as_a_process_that_the_operator_can_reach(
    pods: Any, node: Node, turn_until: Turn
) -> None:
    name = pods.add()

    turn_until(lambda: pods.ready(name))

    pods.objects[name]["metadata"]["labels"] = {}
    (view,) = pod_views([pods.objects[name]])
    assert (view.ready, view.running, view.started, view.scheduled) == (True, True, True, True)
    assert view.ip == LOOPBACK
    with socket.create_connection((LOOPBACK, view.port), timeout=5):
        pass
    assert (node.running, node.ready, node.counts.most) == (1, 1, 1)


def test_a_deleted_pod_gets_sigterm_and_goes_when_its_process_has_ended(
    pods: Any, node: Node, turn_until: Turn, said: list[str]
) -> None:
    name = pods.add()
    turn_until(lambda: pods.ready(name))

    pods.delete(name)
    turn_until(lambda: not pods.objects)

    counts = node.counts
    assert (counts.removed, counts.drained, counts.busy, counts.unclean) == (1, 1, 0, 0)
    assert node.running == 0
    assert any("drained: it gets SIGTERM" in line for line in said)
    assert any("ended with exit code 0" in line for line in said)


def test_a_pod_that_is_deleted_while_busy_is_counted(
    pods: Any, node: Node, turn_until: Turn
) -> None:
    name = pods.add(BUSY="1")
    turn_until(lambda: pods.ready(name))

    pods.delete(name)
    turn_until(lambda: not pods.objects)

    assert node.counts.busy == 1


def test_a_worker_that_ends_with_an_error_is_counted(
    pods: Any, node: Node, turn_until: Turn
) -> None:
    name = pods.add(CODE="7")
    turn_until(lambda: pods.ready(name))

    pods.delete(name)
    turn_until(lambda: not pods.objects)

    assert node.counts.unclean == 1


def test_a_worker_that_is_told_to_end_while_it_loads_ends_well(
    pods: Any, node: Node, turn_until: Turn
) -> None:
    name = pods.add(LOADING="1")
    turn_until(lambda: node.running == 1)

    pods.delete(name)
    turn_until(lambda: not pods.objects)

    counts = node.counts
    assert (counts.removed, counts.drained, counts.busy, counts.unclean) == (1, 0, 0, 0)


def test_a_pod_that_vanishes_takes_its_process_along(
    pods: Any, node: Node, turn_until: Turn
) -> None:
    name = pods.add()
    turn_until(lambda: pods.ready(name))

    pods.objects.clear()
    turn_until(lambda: node.counts.removed == 1)

    assert node.running == 0


def test_a_worker_that_crashes_is_told_once_and_shown_to_the_operator(
    pods: Any, node: Node, turn_until: Turn
) -> None:
    name = pods.add(CRASH="1")

    turn_until(lambda: bool(node.counts.crashed))
    node.tick()

    pods.objects[name]["metadata"]["labels"] = {}
    (view,) = pod_views([pods.objects[name]])
    assert node.counts.crashed == [(name, 3)]
    assert view.broken == "CrashLoopBackOff"
    assert not view.ready


def test_closing_leaves_no_process(
    pods: Any, node: Node, turn_until: Turn, said: list[str]
) -> None:
    names = [pods.add(), pods.add()]
    turn_until(lambda: all(map(pods.ready, names)))

    node.close()

    pids = [int(line.split("process ")[1].split(",")[0]) for line in said if "starts" in line]
    assert len(pids) == 2
    assert not any(map(runs, pids))


def test_a_worker_gets_its_containers_environment_and_nothing_of_the_users(
    tmp_path: Path,
) -> None:
    container = {
        "name": env.CONTAINER_WORKER,
        "env": [
            {"name": env.QUEUE_URL, "value": "http://127.0.0.1/q"},
            {"name": env.CONTROL_PORT, "value": "8080"},
            {"name": env.TEMP_DIR, "value": f"{env.POD_TEMP_DIR}/cache"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
    }
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "other"}, container]}}
    users = {"PATH": "/bin", "AWS_PROFILE": "mine", "HOME": "/home/me", "MODELS_DIR": "/m"}

    found = environment(pod, tmp_path, 23456, users)

    assert found == {
        "PATH": "/bin",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        env.QUEUE_URL: "http://127.0.0.1/q",
        env.TEMP_DIR: f"{tmp_path}/cache",
        env.CONTROL_HOST: LOOPBACK,
        env.CONTROL_PORT: "23456",
        "SECRET": "",
    }


def test_a_port_is_never_given_twice() -> None:
    assert free_port(taken=range(PORTS.start, PORTS.stop - 1)) == PORTS.stop - 1


def test_no_free_port_is_an_error() -> None:
    with pytest.raises(OSError, match="no free port"):
        free_port(taken=PORTS)
