"""What watches, lists and answers to writes have told of a cluster so far, in memory.

They overtake each other: a list takes seconds, meanwhile watches tell of what is newer; an answer
to a write arrives after the watch told of the deletion. Of two versions the newer one is kept,
and a deletion is remembered until a list that began after it has shown that it knows of it.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from detection_operator.crd.manifest import KIND
from detection_operator.kube.objects import served_key, version_of
from detection_operator.kube.pods.views import pod_views
from detection_operator.kube.port import Key, Listed, Object

DEPLOYMENT: Final = "Deployment"
POD: Final = "Pod"
_Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Told:
    """An object and the turn at which it was told; of a deleted one only uid and version."""

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
        self._collections = {kind: _Collection() for kind in (KIND, DEPLOYMENT, POD)}
        self._children: dict[tuple[str, Key], dict[str, Object]] = {}
        self._turn = 0

    def turn(self) -> int:
        """Return how much was told so far; for ``replace``, before the list is asked for."""
        with self._lock:
            return self._turn

    def put(self, kind: str, obj: Object) -> bool:
        """Keep an object unless a newer one, or its deletion, is known; say whether it is news.

        News are what to decide on.
        """
        slim = _slim(kind, obj)
        with self._lock:
            self._turn += 1
            return self._take(kind, slim)

    def remove(self, kind: str, obj: Object) -> bool:
        """Forget an object as it was when it was deleted; say whether it was known."""
        with self._lock:
            self._turn += 1
            known = self._collections[kind].kept.get(_name(obj))
            if known is not None and _is_successor(known.obj, obj):
                return False
            return self._bury(kind, obj)

    def replace(self, kind: str, listed: Iterable[Object], *, since: int | None = None) -> int:
        """Keep what a list holds, but for what was told since it began and is newer.

        Args:
            kind: Of all objects.
            listed: All that there are; a ``Listed`` says as of which version.
            since: What ``turn`` returned before the list was asked for; None means that nothing
                was told meanwhile.

        Returns:
            How many objects were news, that is which no watch had told of.
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

    def children(self, kind: str, key: Key) -> list[Object]:
        """Return the Deployments or pods of a DetectionQueue."""
        with self._lock:
            return list(self._children.get((kind, key), {}).values())

    def _take(self, kind: str, obj: Object, began: int | None = None) -> bool:
        """Keep an object if it is not outdated; say whether it is news."""
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
        return before is None or _gist(kind, before.obj) != _gist(kind, obj)

    def _bury(self, kind: str, obj: Object) -> bool:
        collection, name = self._collections[kind], _name(obj)
        self._unlink(kind, name)
        metadata = {k: obj["metadata"].get(k) for k in ("uid", "resourceVersion")}
        collection.gone[name] = _Told({"metadata": metadata}, self._turn)
        return collection.kept.pop(name, None) is not None

    def _unlink(self, kind: str, name: _Name) -> None:
        known = self._collections[kind].kept.get(name)
        key = served_key(known.obj) if known is not None else None
        if key is not None:
            siblings = self._children.get((kind, key), {})
            siblings.pop(name[1], None)
            if not siblings:
                self._children.pop((kind, key), None)


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


def _name(obj: Object) -> _Name:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _uid(obj: Object) -> str | None:
    uid: str | None = obj["metadata"].get("uid")
    return uid


def _gist(kind: str, obj: Object) -> Any:
    """Return what a reconcile would look at: changes of anything else are no reason for one."""
    metadata = obj["metadata"]
    if kind == POD:
        return pod_views([obj])
    spec = obj.get("spec", {})
    return (metadata.get("uid"), metadata.get("deletionTimestamp"), spec)


def _slim(kind: str, obj: Object) -> Object:
    """Return an object without what nobody reads: field owners are half of its size."""
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
