"""kopf as informer: watches feed the store, and changes become keys in the work queue.

Only ``on.event`` handlers: they need no finalizer and no last-handled annotation, so that kopf
writes nothing, and deleting works without the operator. kopf does not report objects that were
deleted before a watch began or while it was broken, and may go on with dead watches; the resync
finds both.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import kopf
from kubernetes import client as kubernetes_client

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import GROUP, KIND, PLURAL, POOL_PLURAL, VERSION
from detection_operator.kube.nodes import NODE
from detection_operator.kube.objects import key_of, served_key
from detection_operator.kube.port import Key, Object
from detection_operator.kube.store import DEPLOYMENT, POD, POOL, Store
from detection_operator.runtime.session import connection

WATCH_S: Final = 300
CLIENT_MARGIN_S: Final = 10.0
"""A watch that outlives the server's limit by this time is dead."""
QUIET_S: Final = 70.0
"""A watch that is silent for this time is dead: the API server sends a bookmark each minute."""
CONNECT_S: Final = 10.0
REQUEST_S: Final = 30.0
GRACE_S: Final = 0.5
"""kopf's tasks may take this long to end by themselves, and to follow a cancellation."""
BACKOFFS_S: Final = (0.5, 1.0, *([2.0] * 300))
"""Ten minutes of retries while the API server is unavailable. A leader has lost its lease long
before, so this matters without leader election."""
KOPF_LOGGER: Final = "kopf._core.reactor.running"
PREFIX: Final = "detection-queue.dev"
IDENTITY: Final[Any] = "informer"
"""Identity in kopf's peering, which is not used. Without one kopf looks up the name of the
process's user, and a container may run as a user without a name."""


class Informer:
    """Watches on a thread of its own.

    Args:
        config: How to reach the API server.
        namespaces: Namespaces in scope; empty means all.
        store: Receives the objects.
        changed: Called with the key of a DetectionQueue when one of its objects changed, and with
            that of a WorkerPool when it did.
        listed: Called when a watch begins with a list: deletions before it are not reported.
        watch_s: Duration in seconds that is asked of the server for a watch; it rejects fractions.

    Attributes:
        ready: Set once the watches began.
        ended: Set when the watches ended, or one of them failed for good.
        heard: Events so far, by kind.
        pools: WorkerPools are watched.
        nodes: Label selector of the nodes that are watched; None: none are.
    """

    def __init__(
        self,
        config: kubernetes_client.Configuration,
        namespaces: tuple[str, ...],
        store: Store,
        changed: Callable[[Key], None],
        *,
        listed: Callable[[], None] = lambda: None,
        watch_s: int = WATCH_S,
    ) -> None:
        self._watch_s = watch_s
        self._config = config
        self._namespaces = namespaces
        self._store = store
        self._changed = changed
        self._listed = listed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="informer", daemon=True)
        self.pools = False
        self.nodes: str | None = None
        self.heard: Counter[str] = Counter()
        self.ready = threading.Event()
        self.ended = threading.Event()

    def start(self, *, pools: bool = True, nodes: str | None = None) -> None:
        """Start the watches, once.

        Args:
            pools: Watch WorkerPools too. A watch of a kind that may not be read ends all others.
            nodes: Label selector of the nodes to watch, empty means all; None watches none.
        """
        if self._thread.ident is None:
            self.pools, self.nodes = pools, nodes
            logging.getLogger(KOPF_LOGGER).addFilter(_is_relevant)
            self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the watches."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def take(self, kind: str, event: Mapping[str, Any]) -> None:
        """Take in one watch event."""
        obj: Object = event["object"]
        self.heard[kind] += 1
        if event.get("type") is None:
            self._listed()
        if event.get("type") == "DELETED":
            changed = self._store.remove(kind, obj)
        else:
            changed = self._store.put(kind, obj)
        for key in self._concerned(kind, obj) if changed else ():
            self._changed(key)

    def _concerned(self, kind: str, obj: Object) -> Iterable[Key]:
        """Return the DetectionQueues, or the WorkerPool, that an object is about."""
        if kind in {KIND, POOL}:
            return (key_of(obj, kind),)
        if kind == NODE:
            return self._store.on_node(obj["metadata"]["name"])
        key = served_key(obj)
        return () if key is None else (key,)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception:
            # The end of a thread goes unnoticed; the main loop checks ``ended``.
            logging.getLogger(__name__).exception("watches failed")
        finally:
            self.ended.set()

    async def _watch(self) -> None:
        over = asyncio.Event()
        kopf_task = asyncio.create_task(
            kopf.operator(
                registry=self._registry(over),
                settings=_settings(self._watch_s, self.nodes),
                identity=IDENTITY,
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=self._stop,
                ready_flag=self.ready,
            )
        )
        kopf_task.add_done_callback(lambda _: over.set())
        try:
            await over.wait()
            await _end_tasks()
            if not kopf_task.cancelled():
                kopf_task.result()
        finally:
            # A thread of kopf waits for this flag, and the end of the loop for that thread.
            self._stop.set()

    def _registry(self, over: asyncio.Event) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        config = self._config

        @kopf.on.cleanup(registry=registry)
        async def watches_end(**_: Any) -> None:
            over.set()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return await connection(config)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        def queue_event(event: Any, **_: Any) -> None:
            self.take(KIND, event)

        if self.pools:

            @kopf.on.event(GROUP, VERSION, POOL_PLURAL, registry=registry)
            def pool_event(event: Any, **_: Any) -> None:
                self.take(POOL, event)

        labels = {LABEL_QUEUE: kopf.PRESENT}

        @kopf.on.event("apps", "v1", "deployments", labels=labels, registry=registry)
        def deployment_event(event: Any, **_: Any) -> None:
            self.take(DEPLOYMENT, event)

        @kopf.on.event("", "v1", "pods", labels=labels, registry=registry)
        def pod_event(event: Any, **_: Any) -> None:
            self.take(POD, event)

        if self.nodes is not None:

            @kopf.on.event("", "v1", "nodes", registry=registry)
            def node_event(event: Any, **_: Any) -> None:
                self.take(NODE, event)

        return registry


async def _end_tasks() -> None:
    """Cancel what kopf leaves behind until it is gone.

    After one watch failed, kopf 1.45 closes its session, so that the others log in again and
    swallow the only cancellation that they get. kopf then waits for them forever.
    """
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    while pending:
        _, pending = await asyncio.wait(pending, timeout=GRACE_S)
        for task in pending:
            task.cancel()


def _settings(watch_s: int, nodes: str | None) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = watch_s
    settings.watching.client_timeout = watch_s + CLIENT_MARGIN_S
    settings.watching.inactivity_timeout = QUIET_S
    settings.watching.connect_timeout = CONNECT_S
    # The API server filters by label, and reports a removed label as a deletion.
    settings.watching.label_selectors["apps", "v1", "deployments"] = LABEL_QUEUE
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_QUEUE
    if nodes:
        settings.watching.label_selectors["", "v1", "nodes"] = nodes
    settings.networking.request_timeout = REQUEST_S
    settings.networking.error_backoffs = BACKOFFS_S
    settings.persistence.finalizer = f"{PREFIX}/unused"
    return settings


def _is_relevant(record: logging.LogRecord) -> bool:
    # kopf warns that it handles no signals in a thread; the main thread does.
    return not record.getMessage().startswith("OS signals are ignored")
