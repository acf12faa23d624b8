"""kopf as informer: watches feed the store, and what is news becomes a key in the work queue.

Only ``on.event`` handlers: they need no finalizer and no last-handled annotation, so that kopf
writes nothing, and deleting works with the operator gone. kopf does not tell of objects that
vanished before a watch began or while it was broken, and may live on with its watches dead; the
resync finds out.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import kopf
from kubernetes import client as kubernetes_client

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import GROUP, KIND, PLURAL, VERSION
from detection_operator.kube.objects import key_of, served_key
from detection_operator.kube.port import Key, Object
from detection_operator.kube.store import DEPLOYMENT, POD, Store
from detection_operator.runtime.session import connection

WATCH_S: Final = 300
CLIENT_MARGIN_S: Final = 10.0
"""A watch that outlives the server's own limit by so much is dead."""
QUIET_S: Final = 70.0
"""So is one that tells nothing for so long: the API server sends a bookmark each minute."""
CONNECT_S: Final = 10.0
REQUEST_S: Final = 30.0
BACKOFFS_S: Final = (0.5, 1.0, *([2.0] * 300))
"""Ten minutes of patience with an API server that is away; often enough to hear soon when it is
back. A leader has lost its lease long before, so this counts where there is no election."""
KOPF_LOGGER: Final = "kopf._core.reactor.running"
PREFIX: Final = "detection-queue.dev"
IDENTITY: Final[Any] = "informer"
"""Of a kopf peering, of which there is none. Without one kopf asks for the name of the process's
user, and a container may run as a user that no file names."""


class Informer:
    """Watches on a thread of its own.

    Args:
        config: How to reach the API server.
        namespaces: In scope; empty means all.
        store: To feed.
        changed: Told the key of a DetectionQueue about which something changed.
        listed: Told when a watch began with a list: what vanished before it goes untold.
        watch_s: The server is asked to end a watch after so long. An integer: it refuses a
            fraction.

    Attributes:
        ready: Set once the watches began.
        ended: Set when they all ended.
        heard: Events so far, by kind.
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
        self.heard: Counter[str] = Counter()
        self.ready = threading.Event()
        self.ended = threading.Event()

    def start(self) -> None:
        """Start to watch, if that was not done before."""
        if self._thread.ident is None:
            logging.getLogger(KOPF_LOGGER).addFilter(_is_worth_telling)
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
            news = self._store.remove(kind, obj)
        else:
            news = self._store.put(kind, obj)
        key = key_of(obj) if kind == KIND else served_key(obj)
        if news and key is not None:
            self._changed(key)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception:
            # A thread's end would go unnoticed; whoever runs the operator looks at ``ended``.
            logging.getLogger(__name__).exception("watches failed")
        finally:
            self.ended.set()

    async def _watch(self) -> None:
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=_settings(self._watch_s),
                identity=IDENTITY,
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=self._stop,
                ready_flag=self.ready,
            )
        finally:
            # A thread of kopf waits for the flag, and the loop's end waits for that thread.
            self._stop.set()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        config = self._config

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return await connection(config)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        def queue_event(event: Any, **_: Any) -> None:
            self.take(KIND, event)

        labels = {LABEL_QUEUE: kopf.PRESENT}

        @kopf.on.event("apps", "v1", "deployments", labels=labels, registry=registry)
        def deployment_event(event: Any, **_: Any) -> None:
            self.take(DEPLOYMENT, event)

        @kopf.on.event("", "v1", "pods", labels=labels, registry=registry)
        def pod_event(event: Any, **_: Any) -> None:
            self.take(POD, event)

        return registry


def _settings(watch_s: int) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = watch_s
    settings.watching.client_timeout = watch_s + CLIENT_MARGIN_S
    settings.watching.inactivity_timeout = QUIET_S
    settings.watching.connect_timeout = CONNECT_S
    # The API server leaves out what does not concern us, and tells of a lost label as a deletion.
    settings.watching.label_selectors["apps", "v1", "deployments"] = LABEL_QUEUE
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_QUEUE
    settings.networking.request_timeout = REQUEST_S
    settings.networking.error_backoffs = BACKOFFS_S
    settings.persistence.finalizer = f"{PREFIX}/unused"
    return settings


def _is_worth_telling(record: logging.LogRecord) -> bool:
    # kopf warns that it takes no signals in a thread; the process takes them itself.
    return not record.getMessage().startswith("OS signals are ignored")
