"""The real kopf handlers on a small API server: what is listed and watched becomes keys."""

import asyncio
import contextlib
import json
import queue
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import kmock
import pytest
from kubernetes.client import Configuration

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import GROUP, KIND, PLURAL, POOL_PLURAL, VERSION
from detection_operator.kube.port import Key
from detection_operator.kube.store import DEPLOYMENT, POD, POOL, Store
from detection_operator.runtime.informer import Informer

PATIENCE_S = 60.0
MERGE = "application/merge-patch+json"
VERBS = {"get", "list", "watch", "patch", "create", "delete"}
PLACES = {
    KIND: (f"apis/{GROUP}/{VERSION}", PLURAL),
    POOL: (f"apis/{GROUP}/{VERSION}", POOL_PLURAL),
    DEPLOYMENT: ("apis/apps/v1", "deployments"),
    POD: ("api/v1", "pods"),
}
"""Group, version and plural of each watched kind."""
UNWATCHED = ("v1/namespaces", "apiextensions.k8s.io/v1/customresourcedefinitions")
"""Resources that kopf looks for before it begins."""
VIDEO = Key("media", "video")


@dataclass(slots=True)
class Stage:
    """An API server and an informer that watches it.

    Attributes:
        url: URL of the server.
        emulator: Its objects and the requests that came.
        store: That the informer feeds.
        keys: That it told of, in order.
    """

    url: str
    emulator: kmock.KubernetesEmulator
    store: Store = field(default_factory=Store)
    keys: "queue.Queue[Key]" = field(default_factory=queue.Queue)
    _version: int = 1

    def call(self, verb: str, path: str, body: Any = None, kind: str = "application/json") -> None:
        """Send a request, as kubectl would."""
        request = urllib.request.Request(
            f"{self.url}/{path}",
            method=verb,
            data=json.dumps(body).encode(),
            headers={"Content-Type": kind},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status < 300

    def create(
        self,
        kind: str,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        namespace: str = "media",
    ) -> None:
        """Create an object."""
        root, plural = PLACES[kind]
        metadata = {
            **self._newer(),
            "name": name,
            "namespace": namespace,
            "uid": f"{namespace}-{name}",
            "labels": dict(labels or {}),
        }
        body = {"kind": kind, "metadata": metadata, "spec": {}}
        self.call("POST", f"{root}/namespaces/{namespace}/{plural}", body)

    def change(self, kind: str, name: str) -> None:
        """Change an object of the namespace media so that a reconcile has to look at it."""
        root, plural = PLACES[kind]
        body = {
            "metadata": self._newer(),
            "spec": {"paused": True},
            "status": {"phase": "Running"},
        }
        self.call("PATCH", f"{root}/namespaces/media/{plural}/{name}", body, MERGE)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object of the namespace media."""
        root, plural = PLACES[kind]
        self.call("DELETE", f"{root}/namespaces/media/{plural}/{name}")

    def _newer(self) -> dict[str, str]:
        # The emulator gives objects no versions of its own.
        self._version += 1
        return {"resourceVersion": str(self._version)}

    def told(self) -> Key:
        """Return the next key, once there is one."""
        return self.keys.get(timeout=PATIENCE_S)

    @contextlib.contextmanager
    def watched(self, *namespaces: str, pools: bool = True) -> Iterator[None]:
        """Let an informer watch."""
        config = Configuration()
        config.host = self.url
        informer = Informer(config, namespaces, self.store, self.keys.put)
        informer.start(pools=pools)
        try:
            yield
        finally:
            informer.stop()
        assert informer.ended.wait(PATIENCE_S)


@pytest.fixture
def stage() -> Iterator[Stage]:
    started: queue.Queue[tuple[str, kmock.KubernetesEmulator]] = queue.Queue()
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        emulator = kmock.KubernetesEmulator()
        for kind, (root, plural) in PLACES.items():
            group = root.partition("/")[2]
            emulator.resources[f"{group}/{plural}"] = kmock.ResourceInfo(
                namespaced=True, kind=kind, singular=kind.lower(), verbs=VERBS
            )
        for place in UNWATCHED:
            emulator.resources[place] = kmock.ResourceInfo(verbs=VERBS)
        async with emulator, kmock.Server(emulator) as server:
            started.put((str(server.url).rstrip("/"), emulator))
            await over.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="kmock", daemon=True)
    thread.start()
    yield Stage(*started.get(timeout=PATIENCE_S))
    loop.call_soon_threadsafe(over.set)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


LABELS = {LABEL_QUEUE: "video"}
WATCHED = [
    pytest.param(POOL, "video", {}, id="WorkerPool"),
    pytest.param(KIND, "video", {}, id="DetectionQueue"),
    pytest.param(DEPLOYMENT, "video-1a2b3c4d", LABELS, id="Deployment"),
    pytest.param(POD, "video-1a2b3c4d-x", LABELS, id="Pod"),
]


@pytest.mark.parametrize(("kind", "name", "labels"), WATCHED)
def test_what_was_there_before_is_told_of(
    stage: Stage, kind: str, name: str, labels: Mapping[str, str]
) -> None:
    stage.create(kind, name, labels)

    with stage.watched("media"):
        assert stage.told() == told_of(kind)

    assert stage.store.get(kind, "media", name) is not None


@pytest.mark.parametrize(("kind", "name", "labels"), WATCHED)
def test_what_comes_changes_and_goes_is_told_of(
    stage: Stage, kind: str, name: str, labels: Mapping[str, str]
) -> None:
    stage.create(KIND, "first")
    with stage.watched("media"):
        # The watches are under way.
        assert stage.told() == Key("media", "first")

        stage.create(kind, name, labels)
        assert stage.told() == told_of(kind)
        stage.change(kind, name)
        assert stage.told() == told_of(kind)
        stage.delete(kind, name)
        assert stage.told() == told_of(kind)

    assert stage.store.get(kind, "media", name) is None


def told_of(kind: str) -> Key:
    return Key("media", "video", POOL) if kind == POOL else VIDEO


def test_pools_that_may_not_be_read_are_not_watched(stage: Stage) -> None:
    stage.create(POOL, "video")
    stage.create(KIND, "video")

    with stage.watched("media", pools=False):
        assert stage.told() == VIDEO

    assert stage.keys.empty()
    asked = [item for item in stage.emulator if POOL_PLURAL in str(item.url)]
    assert {item.method for item in asked} == {kmock.method.POST}, "only the test"


def test_pods_of_nobody_are_told_to_nobody(stage: Stage) -> None:
    stage.create(POD, "stranger", {"app": "other"})
    with stage.watched("media"):
        stage.create(POD, "another")
        stage.create(POD, "ours", LABELS)

        assert stage.told() == VIDEO

    assert stage.keys.empty()
    assert stage.store.get(POD, "media", "stranger") is None


def test_another_namespace_is_told_of_only_where_all_are_in_scope(stage: Stage) -> None:
    stage.create(KIND, "video", namespace="elsewhere")
    stage.create(KIND, "video")

    with stage.watched("media"):
        assert stage.told() == VIDEO
    assert stage.keys.empty()

    with stage.watched():
        assert stage.told() == Key("elsewhere", "video")


def test_the_informer_writes_nothing(stage: Stage) -> None:
    stage.create(KIND, "video")

    with stage.watched("media"):
        assert stage.told() == VIDEO
        stage.change(KIND, "video")
        assert stage.told() == VIDEO

    asked = [item for item in stage.emulator if "kopf" in item.headers["User-Agent"]]
    assert {item.action for item in asked} >= {kmock.action.LIST, kmock.action.WATCH}
    assert {item.method for item in asked} == {kmock.method.GET}


FAILED = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500}


SAID = [
    pytest.param(KIND, [{"type": "ERROR", "object": FAILED}], id="error among DetectionQueues"),
    pytest.param(DEPLOYMENT, [{"type": "ERROR", "object": FAILED}], id="error among Deployments"),
    pytest.param(POD, [{"type": "ERROR", "object": FAILED}], id="error among Pods"),
    pytest.param(POD, [{"type": "ERROR", "object": {}}], id="error without a code"),
    pytest.param(POD, b"upstream went away\n", id="no JSON"),
]


@pytest.mark.parametrize(("kind", "said"), SAID)
def test_one_watch_that_fails_for_good_ends_all(stage: Stage, kind: str, said: Any) -> None:
    root, plural = PLACES[kind]
    resource = kmock.resource(f"{root.partition('/')[2]}/{plural}")
    stage.emulator[kmock.action.WATCH][resource] << said
    config = Configuration()
    config.host = stage.url
    informer = Informer(config, ("media",), stage.store, stage.keys.put)

    informer.start()
    try:
        assert informer.ended.wait(PATIENCE_S)
    finally:
        informer.stop()

    # No thread is left over that would hold up the exit of the process.
    assert not any(thread.name == "informer" for thread in threading.enumerate())
