"""A real kube-apiserver with etcd, optionally with the controllers, on loopback, for tests.

Needs the binaries that envtest uses; finds them by ``KUBEBUILDER_ASSETS``.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import urllib3
import yaml
from kubernetes import client as kubernetes_client

from detection_operator.errors import ClusterError
from detection_operator.kube.rest import Rest
from detection_testing.kubernetes.service import Service

ASSETS: Final = "KUBEBUILDER_ASSETS"
DEFAULT_ASSETS: Final = Path("/usr/local/kubebuilder/bin")
NEEDED: Final = ("etcd", "kube-apiserver")
CONTROLLER_MANAGER: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"
START_S: Final = 120.0
ADMIN: Final = "admin-token"
CONTROLLERS: Final = (
    "deployment-controller",
    "replicaset-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "resourcequota-controller",
)


class NoBinaries(Exception):  # noqa: N818 - says what is the matter
    """The binaries are not there; the message says where they were looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user that can authenticate.

    Attributes:
        token: Bearer token.
        name: User name.
        groups: Groups of the user.
    """

    token: str
    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """A running API server.

    Attributes:
        url: Where it listens.
        ca_file: Certificate to trust.
        folder: Folder for all its files.
        version: Version that it reports.
        process: kube-apiserver itself.
        manager: The controllers, where they were found.
        etcd_url: URL of its etcd.
    """

    url: str
    ca_file: Path
    folder: Path
    version: str
    process: Service
    manager: Service | None
    etcd_url: str

    @property
    def controllers(self) -> bool:
        """A controller manager runs too."""
        return self.manager is not None

    def restart(self, serving: str) -> None:
        """Start the API server again after it ended, and wait until it serves a path.

        The controllers start again with it. Their pauses between tries to watch double with each
        restart, up to half a minute, until two minutes without a failure have passed.
        """
        if self.manager is not None:
            self.manager.kill()
        self.process.start()
        _wait(self.process, self.url, self.ca_file)
        self.wait_for(serving)
        if self.manager is not None:
            self.manager.start()

    def wait_for(self, path: str) -> None:
        """Wait until a path is served.

        Raises:
            TimeoutError: It is not, in time.
        """
        rest = Rest(self.configuration())
        end_s = time.monotonic() + START_S
        try:
            while time.monotonic() < end_s:
                with contextlib.suppress(ClusterError):
                    rest.call("GET", path)
                    return
                time.sleep(0.1)
        finally:
            rest.close()
        raise TimeoutError(f"{path} is not served")

    def compact(self) -> None:
        """Let the store forget all but the newest version of everything, as it does regularly."""
        status = self._etcd("maintenance/status", {})
        self._etcd("kv/compaction", {"revision": status["header"]["revision"], "physical": True})

    def _etcd(self, call: str, body: dict[str, Any]) -> Any:
        with urllib3.PoolManager() as pool:
            answer = pool.request("POST", f"{self.etcd_url}/v3/{call}", json=body, timeout=10.0)
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"etcd: {call}: {answer.status} {answer.data[:200]!r}")
        return answer.json()

    def configuration(self, token: str = ADMIN) -> kubernetes_client.Configuration:
        """Return how a user reaches it."""
        return _configuration(self.url, self.ca_file, token)

    def kubeconfig(self, token: str = ADMIN, url: str | None = None) -> Path:
        """Write a kubeconfig for a user, by way of ``url`` if given, and return its path."""
        name = token if url is None else f"{token}-{url.rpartition(':')[2]}"
        path = self.folder / f"{name}.kubeconfig"
        _write_kubeconfig(path, url or self.url, self.ca_file, token)
        return path


def assets() -> Path:
    """Return the folder of the binaries.

    Raises:
        NoBinaries: Some are missing.
    """
    folder = Path(os.environ.get(ASSETS) or DEFAULT_ASSETS)
    missing = [name for name in NEEDED if not (folder / name).exists()]
    if missing or shutil.which("openssl") is None:
        names = ", ".join([*missing, *([] if shutil.which("openssl") else ["openssl"])])
        raise NoBinaries(f"NO REAL API SERVER: {names} not found in {folder}; set {ASSETS}")
    return folder


@contextlib.contextmanager
def running(users: Sequence[User] = ()) -> Iterator[ApiServer]:
    """Start etcd, kube-apiserver and, where it is found, the controllers; stop them at the end.

    Args:
        users: Besides the administrator.

    Raises:
        NoBinaries: The binaries are not there.
        RuntimeError: A process ended or did not become ready; the message has its last words.
    """
    binaries = assets()
    with tempfile.TemporaryDirectory(prefix="apiserver-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        client_port, peer_port, port, manager_port = free_ports(4)
        admin = User(token=ADMIN, name="admin", groups=("system:masters",))
        _write_tokens(folder / "tokens.csv", [admin, *users])
        _make_key(folder / "sa.key")
        etcd = [
            str(binaries / "etcd"),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client_port}",
            f"--advertise-client-urls=http://127.0.0.1:{client_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
        ]
        stack.enter_context(_service(etcd, folder / "etcd.log"))
        server = stack.enter_context(
            _service(
                _apiserver_command(binaries, folder, etcd_port=client_port, port=port),
                folder / "kube-apiserver.log",
            )
        )
        url, ca_file = f"https://127.0.0.1:{port}", folder / "certs" / "apiserver.crt"
        _wait(server, url, ca_file)
        _write_kubeconfig(folder / "admin.kubeconfig", url, ca_file, ADMIN)
        manager = None
        if (binaries / CONTROLLER_MANAGER).exists():
            command = _manager_command(binaries, folder, port=manager_port)
            manager = stack.enter_context(_service(command, folder / "manager.log"))
        yield ApiServer(
            url=url,
            ca_file=ca_file,
            folder=folder,
            version=_version(url, ca_file),
            process=server,
            manager=manager,
            etcd_url=f"http://127.0.0.1:{client_port}",
        )


@contextlib.contextmanager
def scheduling(server: ApiServer) -> Iterator[None]:
    """Run a kube-scheduler for a while; most tests give pods their nodes by hand.

    Raises:
        NoBinaries: It is not there.
    """
    binary = assets() / SCHEDULER
    if not binary.exists():
        raise NoBinaries(f"NO REAL SCHEDULER: {SCHEDULER} not found in {binary.parent}")
    (port,) = free_ports(1)
    command = [
        str(binary),
        f"--kubeconfig={server.kubeconfig()}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={server.folder / 'scheduler-certs'}",
    ]
    with _service(command, server.folder / "scheduler.log"):
        yield


def _apiserver_command(binaries: Path, folder: Path, *, etcd_port: int, port: int) -> list[str]:
    return [
        str(binaries / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certs'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        # No controller makes the default service accounts that it would ask for.
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://127.0.0.1/",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
    ]


def _manager_command(binaries: Path, folder: Path, *, port: int) -> list[str]:
    return [
        str(binaries / CONTROLLER_MANAGER),
        f"--kubeconfig={folder / 'admin.kubeconfig'}",
        f"--controllers={','.join(CONTROLLERS)}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'manager-certs'}",
        f"--service-account-private-key-file={folder / 'sa.key'}",
    ]


@contextlib.contextmanager
def _service(command: Sequence[str], log: Path) -> Iterator[Service]:
    service = Service(command, log)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def _wait(service: Service, url: str, ca_file: Path) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and service.ended() is None:
        if ca_file.exists() and _is_healthy(url, ca_file):
            return
        time.sleep(0.2)
    raise RuntimeError(f"kube-apiserver is not ready: {service.words()}")


def _is_healthy(url: str, ca_file: Path) -> bool:
    """Say whether all that it does at its start is done: controllers end without that."""
    with urllib3.PoolManager(ca_certs=str(ca_file), retries=False, timeout=10.0) as pool:
        try:
            answer = pool.request(
                "GET", f"{url}/healthz", headers={"Authorization": f"Bearer {ADMIN}"}
            )
        except urllib3.exceptions.HTTPError:
            return False
    return answer.status == HTTPStatus.OK


def _version(url: str, ca_file: Path) -> str:
    rest = Rest(_configuration(url, ca_file, ADMIN))
    try:
        return str(rest.call("GET", "/version")["gitVersion"])
    finally:
        rest.close()


def _configuration(url: str, ca_file: Path, token: str) -> kubernetes_client.Configuration:
    config = kubernetes_client.Configuration()
    config.host = url
    config.ssl_ca_cert = str(ca_file)
    config.api_key = {"authorization": token}
    config.api_key_prefix = {"authorization": "Bearer"}
    return config


def _write_kubeconfig(path: Path, url: str, ca_file: Path, token: str) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "c", "cluster": {"server": url, "certificate-authority": str(ca_file)}}
        ],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _write_tokens(path: Path, users: Sequence[User]) -> None:
    lines = [f'{u.token},{u.name},{u.name},"{",".join(u.groups)}"' for u in users]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _make_key(path: Path) -> None:
    subprocess.run(  # noqa: S603 - fixed arguments
        ["openssl", "genrsa", "-out", str(path), "2048"],  # noqa: S607 - wherever it is
        check=True,
        capture_output=True,
    )


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
