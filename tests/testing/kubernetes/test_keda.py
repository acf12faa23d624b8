"""The harness that runs KEDA: what it looks for, and where requests of the HPA go."""

import contextlib
import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from detection_operator.kube.rest import Rest
from detection_testing.kubernetes import keda
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries, running
from detection_testing.kubernetes.service import Service


@pytest.mark.parametrize("missing", [keda.OPERATOR, keda.METRICS, keda.CRDS])
@pytest.mark.parametrize("value", [None, "", "/nowhere/at/all"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str, value: str | None) -> None:
    environ = dict.fromkeys([keda.OPERATOR, keda.METRICS, keda.CRDS], str(tmp_path))
    del environ[missing]
    if value is not None:
        environ[missing] = value

    with pytest.raises(keda.NoKeda, match=f"^set {missing} to "):
        keda.binaries(environ)


def test_binaries_are_found_by_environment_variables(tmp_path: Path) -> None:
    environ = dict.fromkeys([keda.OPERATOR, keda.METRICS, keda.CRDS], str(tmp_path))

    assert keda.binaries(environ) == keda.Binaries(tmp_path, tmp_path, tmp_path)


@contextlib.contextmanager
def answering(word: str, certificate: Path) -> Iterator[int]:
    """Serve one word over TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(
                {"by": word, "path": self.path, "as": self.headers["Authorization"]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("/apis/external.metrics.k8s.io/v1beta1/namespaces/a/s0-aws-sqs?labelSelector=x", "keda"),
        ("/apis/apps/v1/deployments", "api"),
        ("/api/v1/pods?watch=false", "api"),
    ],
)
def test_only_external_metrics_go_to_keda(tmp_path: Path, path: str, by: str) -> None:
    certificates = keda._certificates(tmp_path / "certs")
    with answering("api", certificates) as api, answering("keda", certificates) as metrics:
        server = ApiServer(
            url=f"https://127.0.0.1:{api}",
            ca_file=certificates / "ca.crt",
            folder=tmp_path,
            version="v1",
            manager=None,
            process=Service(["true"], tmp_path / "log"),
            etcd_url="",
        )
        with (
            contextlib.closing(keda.Router(server, metrics)) as proxy,
            urllib.request.urlopen(f"{proxy.url}{path}") as answer,
        ):
            said = json.load(answer)

    assert said == {"by": by, "path": path, "as": "Bearer admin-token"}
    assert [item.status for item in proxy.seen] == [200]


def test_a_process_says_how_much_memory_it_has(tmp_path: Path) -> None:
    service = Service(["sleep", "60"], tmp_path / "log")
    service.start()
    try:
        assert 0.0 < service.memory_mib() < 64.0
    finally:
        service.stop()
    assert service.memory_mib() == 0.0


@pytest.mark.cluster
@pytest.mark.slow
def test_crds_are_installed_once(tmp_path: Path) -> None:
    body = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: scaledobjects.keda.sh}
spec:
  group: keda.sh
  scope: Namespaced
  names: {kind: ScaledObject, plural: scaledobjects, singular: scaledobject}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
    (tmp_path / "keda.sh_scaledobjects.yaml").write_text(body)

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running())
        except NoBinaries as exc:
            pytest.skip(str(exc))
        keda.install(server, tmp_path)
        keda.install(server, tmp_path)

        with contextlib.closing(Rest(server.configuration())) as admin:
            assert admin.call("GET", "/apis/keda.sh/v1alpha1/scaledobjects")["items"] == []
            assert admin.call("GET", "/api/v1/namespaces/keda")["metadata"]["name"] == "keda"
