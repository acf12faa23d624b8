"""A world whose operators read from caches that watches feed, and what may come between them.

Watches are played: each step compares the objects of the cluster with what was there before, in
memory and on a real API server alike. So a watch can be deaf for a while, tell late, or fail with
410 and begin again with a list.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import KIND
from detection_operator.errors import ClusterError, NotFound, Unavailable
from detection_operator.kube.cache import CachedCluster, Listing
from detection_operator.kube.port import Key, Object
from detection_operator.kube.rest import namespaced
from detection_operator.kube.store import DEPLOYMENT, POD, POOL, Store
from detection_operator.reconcile.reconciler import Reconciler
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.kubernetes.cluster import InMemoryCluster, slot_of
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.world import World

WATCHED: Final = (KIND, DEPLOYMENT, POD)
RESYNC_S: Final = 60.0
NAMESPACE_S: Final = 60.0
"""Real seconds that a namespace may take to go."""
LISTS: Final = {
    KIND: "queues",
    POOL: "pools",
    DEPLOYMENT: "all_deployments",
    POD: "all_pods",
}
_LABELLED: Final = {"all_deployments": DEPLOYMENT, "all_pods": POD}


class Wire:
    """Passes calls of an operator on to a cluster, unless one is to fail.

    Args:
        cluster: In memory or real.

    Attributes:
        down: Every call fails: there is no API server.
        refusals: Errors by name of the call.
    """

    def __init__(self, cluster: InMemoryCluster | ApiScene) -> None:
        self._cluster = cluster
        self.down = False
        self.refusals: dict[str, Callable[[], ClusterError]] = {}

    def __getattr__(self, name: str) -> Any:
        """Return a method of the port."""
        kind = _LABELLED.get(name)
        method = getattr(self._cluster, name) if kind is None else partial(self._labelled, kind)

        def call(*arguments: Any, **named: Any) -> Any:
            if self.down:
                raise Unavailable("connection refused")
            if name in self.refusals:
                error = self.refusals[name]()
                raise error
            return method(*arguments, **named)

        return call

    def _labelled(self, kind: str) -> list[Object]:
        return copy.deepcopy([obj for obj in self._cluster.of_kind(kind) if is_ours(kind, obj)])


def is_ours(kind: str, obj: Mapping[str, Any]) -> bool:
    """Say whether a watch with the operator's selector tells of an object."""
    return kind in {KIND, POOL} or LABEL_QUEUE in obj["metadata"].get("labels", {})


@dataclass(slots=True)
class Informed:
    """An operator with its cache.

    Attributes:
        wire: To the cluster.
        store: What it knows.
        cache: Its view of the cluster.
        reconciler: Decides and acts.
        watched: Kinds that it watches.
        deaf: Kinds of which no watch tells.
        listed_s: When it listed everything last; never at first.
    """

    wire: Wire
    store: Store
    cache: CachedCluster
    reconciler: Reconciler
    watched: tuple[str, ...] = WATCHED
    deaf: set[str] = field(default_factory=set)
    listed_s: float = float("-inf")
    _told: dict[str, dict[tuple[str, ...], Object]] = field(default_factory=dict)

    def hear(self, cluster: InMemoryCluster | ApiScene) -> bool:
        """Take in what happened since it last heard; say whether anything did."""
        changes = [self._hear(kind, cluster) for kind in self.watched if kind not in self.deaf]
        return any(changes)

    def resync(self, now_s: float) -> None:
        """List everything, as at the start, once a minute and after a watch that failed.

        Raises:
            ClusterError: The API server did not answer.
        """
        self.cache.relist()
        self.listed_s = now_s

    def lists(self) -> list[tuple[str, int, list[Object]]]:
        """Return kind, turn and answer of each list, to be delivered by ``deliver``."""
        return [
            (kind, self.store.turn(), getattr(self.wire, call)()) for kind, call in LISTS.items()
        ]

    def deliver(self, lists: list[tuple[str, int, list[Object]]]) -> None:
        """Take in lists that were long on their way."""
        for kind, turn, found in lists:
            self.store.replace(kind, found, since=turn)

    def _hear(self, kind: str, cluster: InMemoryCluster | ApiScene) -> bool:
        found = {slot_of(obj): obj for obj in cluster.of_kind(kind) if is_ours(kind, obj)}
        told = self._told.setdefault(kind, {})
        changed = [slot for slot, obj in found.items() if told.get(slot) != obj]
        gone = [slot for slot in told if slot not in found]
        for slot in gone:
            self.store.remove(kind, told.pop(slot))
        for slot in changed:
            told[slot] = copy.deepcopy(found[slot])
            self.store.put(kind, told[slot])
        return bool(changed or gone)


@dataclass(slots=True)
class Stage(World):
    """A world with a cache between operator and cluster.

    Attributes:
        wire: What lies between the operators and the cluster.
        others: Operators beside the first.
        taken: Uids of pods that were removed by others than the operator.
        dark: The cluster stands still: there is no API server.
        server: The real API server; None in memory.
        watched: Kinds that operators watch.
    """

    wire: Wire = field(init=False)
    first: Informed | None = field(init=False, default=None)
    others: list[Informed] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    dark: bool = False
    server: ApiServer | None = None
    watched: tuple[str, ...] = WATCHED

    def informed(self) -> Informed:
        """Return a new operator, which knows nothing yet."""
        store = Store()
        cache = CachedCluster(cast("Listing", self.wire), store, self.clock.monotonic_s)
        return Informed(self.wire, store, cache, self.reconciler_of(cache), self.watched)

    def start(self) -> None:
        """Start the operator, after a kill as if nothing had been."""
        self.wire = getattr(self, "wire", None) or Wire(self.cluster)
        self.first = self.informed()
        self.reconciler = self.first.reconciler
        self.reconciler.pools.ledger.wake = self._wake
        self._due.clear()

    def kill(self) -> None:
        """End the operator without a goodbye."""
        self.first = self.reconciler = None

    def operators(self) -> Iterator[Informed]:
        """Yield the operators that run."""
        if self.first is not None:
            yield self.first
        yield from self.others

    def step(self, seconds: float = 1.0) -> None:
        """Let watches tell, and the world go on."""
        for operator in self.operators():
            self._inform(operator)
        # Not ``super()``: dataclasses with slots are made twice.
        World.step(self, seconds)
        for operator in self.others:
            self._act(operator)

    def settle(self) -> None:
        """Let controllers and kubelets catch up, if there is an API server."""
        if not self.dark:
            World.settle(self)

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace and all that is in it."""
        self.taken.update(pod["metadata"]["uid"] for pod in self.cluster.of_kind(POD))
        if isinstance(self.cluster, ApiScene):
            self._delete_real_namespace(self.cluster, name)
            return
        for slot in [slot for slot in self.cluster.objects if slot[1] == name]:
            if slot in self.cluster.objects:
                self.cluster.delete(slot)

    def _delete_real_namespace(self, scene: ApiScene, name: str) -> None:
        """Let operators act until the namespace is gone, which takes a while on any clock."""
        path, end_s = f"/api/v1/namespaces/{name}", time.monotonic() + NAMESPACE_S
        scene.activity += 1
        scene.admin.call("DELETE", path)
        while time.monotonic() < end_s:
            for pod in scene.of_kind(POD):
                with contextlib.suppress(NotFound):
                    pods = namespaced("v1", name, "pods", pod["metadata"]["name"])
                    scene.admin.call("DELETE", pods, {"gracePeriodSeconds": 0})
            for operator in self.operators():
                self._inform(operator)
                self._act(operator)
            try:
                scene.admin.call("GET", path)
            except NotFound:
                return
            time.sleep(0.1)
        raise TimeoutError(f"namespace {name} is still there")

    def lost_by_operators(self) -> list[str]:
        """Return the uids of pods that were busy when an operator removed them."""
        return [uid for uid in self.lost if uid not in self.taken]

    def _inform(self, operator: Informed) -> None:
        now_s = self.clock.monotonic
        try:
            if now_s - operator.listed_s >= RESYNC_S:
                operator.resync(now_s)
                self._due.clear()
            if not self.dark and not self.wire.down and operator.hear(self.cluster):
                self._due.clear()
        except ClusterError as exc:
            self.errors.append(exc)

    def _act(self, operator: Informed) -> None:
        for key in self.keys:
            try:
                operator.reconciler.reconcile(key)
            except ClusterError as exc:
                self.errors.append(exc)

    def _reconcile(self, key: Key) -> None:
        # Nothing is decided before the first list.
        if self.first is not None and self.first.listed_s >= 0.0:
            World._reconcile(self, key)  # noqa: SLF001 - its own class
