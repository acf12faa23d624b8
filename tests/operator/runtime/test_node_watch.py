"""Nodes on a real API server: the operator hears of them by its watch, and works without."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from detection_operator.runtime.operator import Operator
from detection_testing.http.proxy import Proxy
from detection_testing.scenes.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

Running = Callable[..., tuple[Operator, Any]]


def add_nodes(site: Site) -> None:
    """Add a node that the pods are on, and one with which nothing happens."""
    for name in ("host-0", "host-1"):
        labels = {"pool": "gpu"}
        metadata = {"name": name, "labels": labels}
        site.scene.create_node({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    site.nodes.host = site.scene.node_name("host-0")


def cordon(node: dict[str, Any]) -> None:
    node["spec"]["unschedulable"] = True


def draining(site: Site) -> int:
    return sum(worker.draining for worker in site.workers.workers.values())


def test_a_cordon_is_heard_at_once_and_a_deleted_node_too(site: Site, running: Running) -> None:
    add_nodes(site)
    running(nodes=True, node_selector="pool=gpu", resync_s=600.0)
    site.create_queue(manual=2)
    assert site.live(30, lambda: len(site.workers.workers) == 2)
    site.nodes.host = site.scene.node_name("host-1")

    site.scene.edit_node("host-0", cordon)

    assert site.live(30, lambda: site.replicas == 4)
    assert site.live(30, lambda: site.replicas == 2)
    assert site.lost == []
    site.nodes.ready_after_s = None
    site.scene.delete_node("host-1")
    assert site.live(30, lambda: site.replicas == 4)


def test_without_the_right_to_read_nodes_everything_else_works(
    site: Site, running: Running, proxy: Proxy
) -> None:
    add_nodes(site)
    with proxy.answering(HTTPStatus.FORBIDDEN, lambda _, path: "/api/v1/nodes" in path):
        operator, outcome = running(nodes=True)
        site.create_queue(manual=2)
        assert site.live(30, lambda: len(site.workers.workers) == 2)
        site.scene.edit_node("host-0", cordon)
        site.live(3)

        assert (site.replicas, draining(site)) == (2, 0)
        assert operator.is_healthy()
        assert outcome.error is None
