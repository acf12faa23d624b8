"""An API server that tests may break, and sites on it."""

import contextlib
import gc
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detection_operator.crd.kinds import KINDS
from detection_operator.crd.manifest import manifest
from detection_operator.errors import LeaseLost
from detection_operator.kube.rest import Rest
from detection_operator.runtime.operator import Operator
from detection_operator.settings import OperatorSettings
from detection_testing.http.proxy import Proxy
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries
from detection_testing.kubernetes.apiserver import running as running_server
from detection_testing.scenes.site import Site
from detection_testing.scenes.site import site as new_site


@pytest.fixture(autouse=True)
def _sockets_that_kopf_leaves() -> Iterator[None]:
    """Collect them here: kopf leaves those of cut watches open, which would fail a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def own_server() -> Iterator[ApiServer]:
    """A real API server with controllers that no other module uses; skips, loudly, without."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_server())
        except NoBinaries as exc:
            pytest.skip(str(exc))
        if not server.controllers:
            pytest.skip("NO CONTROLLERS: kube-controller-manager not found beside kube-apiserver")
        with contextlib.closing(Rest(server.configuration())) as admin:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            for kind in KINDS:
                admin.call("POST", path, manifest(kind))
                server.wait_for(f"/apis/detection-queue.dev/v1alpha1/{kind.plural}")
        yield server


@pytest.fixture
def site(own_server: ApiServer, tmp_path: Path) -> Iterator[Site]:
    with new_site(own_server, f"site-{uuid.uuid4().hex[:8]}", tmp_path) as made:
        yield made


@pytest.fixture
def proxy(own_server: ApiServer) -> Iterator[Proxy]:
    with contextlib.closing(Proxy(own_server.url, own_server.ca_file)) as made:
        yield made


class Outcome:
    """How an operator in a thread ended."""

    def __init__(self, operator: Operator) -> None:
        self.error: Exception | None = None
        self._operator = operator
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._operator.run()
        except LeaseLost as exc:
            self.error = exc


@pytest.fixture
def running(site: Site, proxy: Proxy) -> Iterator[Callable[..., tuple[Operator, Outcome]]]:
    """Start operators in this process, whose intervals can be short."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> tuple[Operator, Outcome]:
            operator = Operator(
                OperatorSettings(
                    namespaces=(site.scene.namespace,),
                    namespace=site.scene.namespace,
                    identity="one",
                    host="127.0.0.1",
                    port=0,
                    kubeconfig=site.server.kubeconfig(url=proxy.url),
                    **settings,
                ),
                reader=site.queue,
                workers=site.workers,
            )
            outcome = Outcome(operator)
            stack.callback(outcome.thread.join, 30)
            stack.callback(operator.stop)
            return operator, outcome

        yield start
