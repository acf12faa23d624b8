"""The newest known objects of a cluster, in memory: from watches, lists and answers to writes.

These overtake each other: a list takes seconds, and watches deliver newer objects meanwhile; the
answer to a write may arrive after the watch reported the deletion. The newer of two versions is
kept, and a deletion is remembered until a list that began after it confirms it.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from detection_operator.crd.manifest import KIND, POOL_KIND
from detection_operator.kube.nodes import NODE, node_view, slim_node
from detection_operator.kube.objects import key_of, queue_url, served_key, version_of
from detection_operator.kube.pods.views import pod_views
from detection_operator.kube.port import Key, Listed, Object

DEPLOYMENT: Final = "Deployment"
POD: Final = "Pod"
POOL: Final = POOL_KIND
_Name = tuple[str, str]
_Key = TypeVar("_Key")
_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class _Told:
    """An object and the turn in which it arrived; for a deleted one only uid and version."""

    obj: Object
    turn: int


@dataclass(slots=True)
class _Collection:
    """Objects of one kind.

    Attributes:
        kept: By name.
        gone: Those that were deleted.
        listed: Version of the last list; None if that cannot be compared.
    """

    kept: dict[_Name, _Told] = field(default_factory=dict)
    gone: dict[_Name, _Told] = field(default_factory=dict)
    listed: int | None = None


class Store:
    """The newest known version of each object. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collections = {kind: _Collection() for kind in (KIND, POOL, DEPLOYMENT, POD, NODE)}
        self._children: dict[tuple[str, Key], dict[str, Object]] = {}
        self._by_url: dict[str | None, dict[_Name, Object]] = {}
        self._turn = 0

    def turn(self) -> int:
        """Return the number of changes so far; to be read before a list, for ``replace``."""
        with self._lock:
            return self._turn

    def put(self, kind: str, obj: Object) -> bool:
        """Keep an object unless a newer version or its deletion is known.

        Returns:
            Whether it changed in what a reconcile reads.
        """
        slim = _slim(kind, obj)
        with self._lock:
            self._turn += 1
            return self._take(kind, slim)

    def remove(self, kind: str, obj: Object) -> bool:
        """Remove a deleted object, given its last version; say whether it was known."""
        with self._lock:
            self._turn += 1
            known = self._collections[kind].kept.get(_name(obj))
            if known is not None and _is_successor(known.obj, obj):
                return False
            return self._bury(kind, obj)

    def replace(self, kind: str, listed: Iterable[Object], *, since: int | None = None) -> int:
        """Keep the objects of a list, except where a newer version arrived since it began.

        Args:
            kind: Kind of the objects.
            listed: All objects of the kind; a ``Listed`` has a version.
            since: ``turn`` before the list request; None means that nothing changed meanwhile.

        Returns:
            How many objects were new, changed or gone, that is what watches had missed.
        """
        version = listed.version if isinstance(listed, Listed) else None
        found = {_name(obj): _slim(kind, obj) for obj in listed}
        with self._lock:
            began = self._turn if since is None else since
            collection = self._collections[kind]
            for name, told in list(collection.gone.items()):
                if name not in found and not _is_newer(told, version, began):
                    del collection.gone[name]
            vanished = [
                told.obj
                for name, told in collection.kept.items()
                if name not in found and not _is_newer(told, version, began)
            ]
            for obj in vanished:
                self._bury(kind, obj)
            collection.listed = version
            return len(vanished) + sum(self._take(kind, obj, began) for obj in found.values())

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        with self._lock:
            told = self._collections[kind].kept.get((namespace, name))
            return told.obj if told is not None else None

    def all(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        with self._lock:
            return [told.obj for told in self._collections[kind].kept.values()]

    def is_deleted(self, kind: str, namespace: str, name: str) -> bool:
        """Say whether an object was deleted and no later list has confirmed it so far."""
        with self._lock:
            return (namespace, name) in self._collections[kind].gone

    def children(self, kind: str, key: Key) -> list[Object]:
        """Return the Deployments or pods of a DetectionQueue."""
        with self._lock:
            return list(self._children.get((kind, key), {}).values())

    def queues_of(self, url: str) -> list[Object]:
        """Return the DetectionQueues of one SQS queue."""
        with self._lock:
            return list(self._by_url.get(url, {}).values())

    def on_node(self, name: str) -> set[Key]:
        """Return the DetectionQueues that may have a pod on a node.

        The pods of adopted Deployments are not kept, so all that adopt one are among them.
        """
        with self._lock:
            pods = [told.obj for told in self._collections[POD].kept.values()]
            queues = [told.obj for told in self._collections[KIND].kept.values()]
        served = {served_key(pod) for pod in pods if pod["spec"].get("nodeName") == name}
        adopting = {key_of(queue) for queue in queues if _adopts(queue)}
        return {key for key in served if key is not None} | adopting

    def _take(self, kind: str, obj: Object, began: int | None = None) -> bool:
        """Keep an object unless it is outdated; return as ``put`` does."""
        collection, name = self._collections[kind], _name(obj)
        if _is_outdated(collection, obj, began):
            return False
        before = collection.kept.get(name)
        self._unlink(kind, name)
        collection.gone.pop(name, None)
        collection.kept[name] = _Told(obj, self._turn)
        key = served_key(obj)
        if key is not None:
            self._children.setdefault((kind, key), {})[name[1]] = obj
        if kind == KIND:
            self._by_url.setdefault(queue_url(obj), {})[name] = obj
        return before is None or _gist(kind, before.obj) != _gist(kind, obj)

    def _bury(self, kind: str, obj: Object) -> bool:
        collection, name = self._collections[kind], _name(obj)
        self._unlink(kind, name)
        metadata = {k: obj["metadata"].get(k) for k in ("uid", "resourceVersion")}
        collection.gone[name] = _Told({"metadata": metadata}, self._turn)
        return collection.kept.pop(name, None) is not None

    def _unlink(self, kind: str, name: _Name) -> None:
        known = self._collections[kind].kept.get(name)
        if known is None:
            return
        key = served_key(known.obj)
        if key is not None:
            _drop(self._children, (kind, key), name[1])
        if kind == KIND:
            _drop(self._by_url, queue_url(known.obj), name)


def _drop(index: dict[_Key, dict[_Entry, Object]], key: _Key, entry: _Entry) -> None:
    """Remove an entry of an index, and its key with the last one."""
    found = index.get(key, {})
    found.pop(entry, None)
    if not found:
        index.pop(key, None)


def _is_outdated(collection: _Collection, obj: Object, began: int | None) -> bool:
    """Say whether something newer is known than an object.

    It is from a list that began at the turn ``began``; None: a watch or an answer told of it.
    """
    name, version = _name(obj), version_of(obj)
    known, gone = collection.kept.get(name), collection.gone.get(name)
    told = known or gone
    if known is None and began is None and version and version <= (collection.listed or 0):
        # A list that knew of this version did not hold it: it was gone by then.
        return True
    if told is None:
        return False
    other = version_of(told.obj)
    if version is not None and other is not None:
        return other > version or (known is None and other == version)
    # Versions cannot be compared. A watch tells in order, and a uid never comes back.
    overtaken = began is not None and told.turn > began
    if known is not None:
        return overtaken
    return _uid(told.obj) == _uid(obj) and (overtaken or began is None)


def _is_newer(told: _Told, listed: int | None, began: int) -> bool:
    """Say whether a list that began at the turn ``began`` cannot know of what was told."""
    version = version_of(told.obj)
    if version is not None and listed is not None:
        return version > listed
    return told.turn > began


def _is_successor(known: Object, deleted: Object) -> bool:
    """Say whether an object was made after one of its name was deleted."""
    mine, theirs = version_of(known), version_of(deleted)
    older = mine is not None and theirs is not None and mine <= theirs
    return _uid(known) != _uid(deleted) and not older


def _adopts(queue: Object) -> bool:
    worker = queue.get("spec", {}).get("worker")
    return isinstance(worker, dict) and bool(worker.get("deploymentRef"))


def _name(obj: Object) -> _Name:
    # Nodes have no namespace.
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _uid(obj: Object) -> str | None:
    uid: str | None = obj["metadata"].get("uid")
    return uid


def _gist(kind: str, obj: Object) -> Any:
    """Return what a reconcile reads: changes of anything else need none."""
    metadata = obj["metadata"]
    if kind == POD:
        return pod_views([obj])
    if kind == NODE:
        return (node_view(obj), metadata.get("labels"), obj["status"])
    spec = obj.get("spec", {})
    return (metadata.get("uid"), metadata.get("deletionTimestamp"), spec)


def _slim(kind: str, obj: Object) -> Object:
    """Return an object without what is never read: managed fields are half of its size."""
    if kind == NODE:
        return slim_node(obj)
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    entries = obj["metadata"].get("managedFields") or ()
    if kind == DEPLOYMENT:
        owners = [e for e in entries if "f:replicas" in e.get("fieldsV1", {}).get("f:spec", {})]
        metadata["managedFields"] = owners
    slim = {**obj, "metadata": metadata}
    if kind == POD:
        containers = obj.get("spec", {}).get("containers", ())
        ports = [{"name": c["name"], "ports": c.get("ports", ())} for c in containers]
        slim["spec"] = {"nodeName": obj.get("spec", {}).get("nodeName"), "containers": ports}
    return slim
