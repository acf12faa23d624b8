"""Ways to the API server without a cluster: proxies, TLS names, credentials, errors."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_operator.crd.manifest import GROUP, KIND, PLURAL, VERSION
from detection_operator.errors import (
    ClusterError,
    InvalidSettings,
    NotFound,
    Overloaded,
    Unavailable,
)
from detection_operator.kube.client import KubernetesCluster
from detection_operator.kube.port import Key
from detection_operator.kube.rest import Rest, configuration
from detection_operator.kube.store import Store
from detection_operator.runtime.informer import Informer
from detection_testing.http.tunnel import ConnectProxy, TlsFront, make_certificate

NAME = "api.internal"
"""In the certificate; no resolver knows it."""
HIDDEN = f"{NAME}:6443"
PATIENCE_S = 60.0
LISTED = {
    "metadata": {
        "name": "video",
        "namespace": "n",
        "uid": "u",
        "resourceVersion": "5",
    },
    "spec": {},
}


class Api(BaseHTTPRequestHandler):
    """As much of an API server as lists and watches need."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str | None]]
    answers: dict[str, tuple[int, dict[str, str], bytes]]
    ended: threading.Event

    def do_GET(self) -> None:
        """Answer a discovery, a list or a watch."""
        path, _, query = self.path.partition("?")
        self.asked.append((path, self.headers.get("Authorization")))
        if path in self.answers:
            self._send(*self.answers[path])
        elif "watch=true" in query:
            self.ended.wait(PATIENCE_S)
            self._send(200, {}, b"")
        else:
            self._send(200, {}, json.dumps(self._found(path)).encode())

    def _found(self, path: str) -> dict[str, Any]:
        roots = {
            "/api/v1": {"pods": "Pod", "namespaces": "Namespace"},
            "/apis/apps/v1": {"deployments": "Deployment"},
            f"/apis/{GROUP}/{VERSION}": {PLURAL: KIND},
            "/apis/apiextensions.k8s.io/v1": {"customresourcedefinitions": "X"},
        }
        if path == "/apis":
            names = {"apps": "v1", GROUP: VERSION, "apiextensions.k8s.io": "v1"}
            groups = [
                {
                    "name": name,
                    "versions": [{"groupVersion": f"{name}/{version}", "version": version}],
                    "preferredVersion": {"groupVersion": f"{name}/{version}", "version": version},
                }
                for name, version in names.items()
            ]
            return {"groups": groups}
        if path == "/api":
            return {"versions": ["v1"]}
        if path in roots:
            return {
                "resources": [
                    {
                        "name": plural,
                        "singularName": kind.lower(),
                        "kind": kind,
                        "namespaced": kind not in {"Namespace", "X"},
                        "verbs": ["get", "list", "watch", "patch"],
                    }
                    for plural, kind in roots[path].items()
                ]
            }
        items = [LISTED] if path.endswith(f"/{PLURAL}") else []
        return {"metadata": {"resourceVersion": "9"}, "items": items}

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Tests look at ``asked``."""


class Place:
    """An API server behind TLS that only a proxy finds, and kubeconfigs for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = make_certificate(folder, NAME)
        self.asked: list[tuple[str, str | None]] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.ended = threading.Event()
        attributes = {"asked": self.asked, "answers": self.answers, "ended": self.ended}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Api,), attributes))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.front = TlsFront(("127.0.0.1", self._server.server_port), self.certificate)
        self.address = ("127.0.0.1", self.front.port)

    def close(self) -> None:
        """End all connections."""
        self.ended.set()
        self.front.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def kubeconfig(self, server: str, **cluster: str) -> Path:
        """Write a kubeconfig."""
        path = self.folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": server,
                        "certificate-authority": str(self.certificate),
                        **cluster,
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with contextlib.closing(Place(tmp_path)) as made:
        yield made


@pytest.fixture
def proxy(place: Place) -> Iterator[ConnectProxy]:
    with contextlib.closing(ConnectProxy({HIDDEN: place.address})) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def calls(kubeconfig: Path) -> list[str]:
    """Return what the operator's own calls find."""
    with contextlib.closing(Rest(configuration(kubeconfig, None))) as rest:
        return [obj["metadata"]["name"] for obj in KubernetesCluster(rest, ("n",)).queues()]


def watches(kubeconfig: Path, *, wait_s: float = PATIENCE_S) -> list[str]:
    """Return what kopf's watches find within a time."""
    store, told = Store(), threading.Event()
    informer = Informer(configuration(kubeconfig, None), ("n",), store, lambda _: told.set())
    informer.start()
    told.wait(wait_s)
    informer.stop()
    assert informer.ended.wait(PATIENCE_S)
    return [obj["metadata"]["name"] for obj in store.all(KIND)]


both = pytest.mark.parametrize("way", [calls, watches])
Way = Callable[[Path], list[str]]


@both
def test_a_kubeconfig_s_proxy_is_used(place: Place, proxy: ConnectProxy, way: Way) -> None:
    url = f"http://127.0.0.1:{proxy.port}"

    assert way(place.kubeconfig(f"https://{HIDDEN}", **{"proxy-url": url})) == ["video"]

    assert set(proxy.asked) == {HIDDEN}
    assert {authorization for _, authorization in place.asked} == {"Bearer secret"}


@both
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_the_proxy_of_the_environment_is_used(
    place: Place, proxy: ConnectProxy, way: Way, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")

    assert way(place.kubeconfig(f"https://{HIDDEN}")) == ["video"]

    assert set(proxy.asked) == {HIDDEN}


@both
def test_the_kubeconfig_s_proxy_comes_before_the_environment_s(
    place: Place, proxy: ConnectProxy, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    url = f"http://127.0.0.1:{proxy.port}"

    assert way(place.kubeconfig(f"https://{HIDDEN}", **{"proxy-url": url})) == ["video"]


@both
@pytest.mark.parametrize("excepted", ["localhost,127.0.0.1", "10.0.0.0/8,127.0.0.0/8", "*"])
@pytest.mark.parametrize("by_environment", [True, False], ids=["HTTPS_PROXY", "proxy-url"])
def test_what_no_proxy_names_is_reached_directly(
    place: Place,
    proxy: ConnectProxy,
    way: Way,
    excepted: str,
    by_environment: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    monkeypatch.setenv("NO_PROXY", excepted)
    if by_environment:
        monkeypatch.setenv("HTTPS_PROXY", url)
    cluster = {} if by_environment else {"proxy-url": url}
    server = f"https://127.0.0.1:{place.front.port}"

    assert way(place.kubeconfig(server, **cluster, **{"tls-server-name": NAME})) == ["video"]

    assert proxy.asked == []


@both
def test_the_server_is_who_tls_server_name_says(place: Place, way: Way) -> None:
    server = f"https://127.0.0.1:{place.front.port}"

    assert way(place.kubeconfig(server, **{"tls-server-name": NAME})) == ["video"]

    assert set(place.front.named) == {NAME}


@both
def test_tls_server_name_holds_behind_a_proxy_too(place: Place, way: Way) -> None:
    target = "10.1.2.3:6443"
    with contextlib.closing(ConnectProxy({target: place.address})) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        kubeconfig = place.kubeconfig(
            f"https://{target}", **{"proxy-url": url, "tls-server-name": NAME}
        )

        assert way(kubeconfig) == ["video"]

        assert set(proxy.asked) == {target}
    assert set(place.front.named) == {NAME}


@both
def test_a_proxy_s_password_is_sent(place: Place, way: Way) -> None:
    with contextlib.closing(ConnectProxy({HIDDEN: place.address}, "me:p@ss word")) as proxy:
        url = f"http://me:p%40ss%20word@127.0.0.1:{proxy.port}"

        assert way(place.kubeconfig(f"https://{HIDDEN}", **{"proxy-url": url})) == ["video"]


def test_another_server_s_certificate_is_refused(place: Place) -> None:
    server = f"https://127.0.0.1:{place.front.port}"

    with pytest.raises(Unavailable, match="no answer"):
        calls(place.kubeconfig(server, **{"tls-server-name": "other.internal"}))
    other = place.kubeconfig(server, **{"tls-server-name": "other.internal"})
    assert watches(other, wait_s=5.0) == []
    assert place.asked == []


@pytest.mark.parametrize(
    "url", ["socks5://127.0.0.1:1080", "ftp://proxy", "http://", "127.0.0.1:3128"]
)
def test_a_proxy_that_cannot_be_used_is_named_at_the_start(place: Place, url: str) -> None:
    kubeconfig = place.kubeconfig(f"https://{HIDDEN}", **{"proxy-url": url})

    with pytest.raises(InvalidSettings, match="the URL of its proxy must begin with http://"):
        configuration(kubeconfig, None)


def test_a_proxy_that_refuses_is_named_with_its_words(place: Place, proxy: ConnectProxy) -> None:
    proxy.refusing = "407 Proxy Authentication Required"
    url = f"http://127.0.0.1:{proxy.port}"

    with pytest.raises(Unavailable, match="407 Proxy Authentication Required"):
        calls(place.kubeconfig(f"https://{HIDDEN}", **{"proxy-url": url}))


def test_a_proxy_that_cannot_reach_the_server_for_a_while_ends_no_watch(
    place: Place, proxy: ConnectProxy
) -> None:
    proxy.refusing = "503 Service Unavailable"
    url = f"http://127.0.0.1:{proxy.port}"
    kubeconfig = place.kubeconfig(f"https://{HIDDEN}", **{"proxy-url": url})
    told = threading.Event()
    informer = Informer(configuration(kubeconfig, None), ("n",), Store(), lambda _: told.set())

    informer.start()
    assert not told.wait(2.0)
    assert not informer.ended.is_set()
    proxy.refusing = None
    assert told.wait(PATIENCE_S)
    informer.stop()
    assert informer.ended.wait(PATIENCE_S)


@pytest.fixture
def rest(place: Place) -> Iterator[Rest]:
    server = f"https://127.0.0.1:{place.front.port}"
    config = configuration(place.kubeconfig(server, **{"tls-server-name": NAME}), None)
    with contextlib.closing(Rest(config)) as made:
        yield made


def test_an_error_is_told_in_the_server_s_words(place: Place, rest: Rest) -> None:
    body = json.dumps({"kind": "Status", "message": "pods is a bad name"}).encode()
    place.answers["/x"] = (404, {}, body)

    with pytest.raises(NotFound, match="GET /x: 404 pods is a bad name"):
        rest.call("GET", "/x")


def test_an_answer_that_is_no_status_is_told_as_it_is(place: Place, rest: Rest) -> None:
    place.answers["/x"] = (502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>")

    with pytest.raises(Unavailable, match="502 <h1>Bad Gateway</h1>"):
        rest.call("GET", "/x")


def test_how_long_to_wait_is_told(place: Place, rest: Rest) -> None:
    place.answers["/x"] = (429, {"Retry-After": "7"}, b"{}")

    with pytest.raises(Overloaded) as raised:
        rest.call("GET", "/x")

    assert raised.value.retry_after_s == 7.0
    # Once: the reconcile decides when to try again.
    assert len(place.asked) == 1


def test_a_redirect_is_no_answer(place: Place, rest: Rest) -> None:
    place.answers["/x"] = (302, {"Location": "/y"}, b"")

    with pytest.raises(ClusterError, match="302"):
        rest.call("GET", "/x")

    assert [path for path, _ in place.asked] == ["/x"]


def test_a_page_to_log_in_is_no_answer(place: Place, rest: Rest) -> None:
    place.answers["/x"] = (200, {"Content-Type": "text/html"}, b"<h1>Log in</h1>")

    with pytest.raises(Unavailable, match="not JSON: <h1>Log in</h1>"):
        rest.call("GET", "/x")


def test_connections_are_kept(place: Place, rest: Rest) -> None:
    for _ in range(5):
        rest.call("GET", "/apis")

    assert len(place.front.named) == 1


def test_nobody_there_is_no_answer(place: Place) -> None:
    # Bound, so that nobody else gets the port, but nobody listens.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]

        with pytest.raises(Unavailable, match="no answer"):
            calls(place.kubeconfig(f"https://127.0.0.1:{port}"))


def test_a_key_is_what_a_list_finds(place: Place) -> None:
    server = f"https://127.0.0.1:{place.front.port}"
    config = configuration(place.kubeconfig(server, **{"tls-server-name": NAME}), None)
    with contextlib.closing(Rest(config)) as rest:
        found = KubernetesCluster(rest, ("n",)).queue(Key("n", "video"))

    assert found is not None
