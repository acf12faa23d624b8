"""The chart's binaries, its renderings, and a real API server where its binaries are found."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "detection-queue"
START_S = 60.0
ADMIN = "chart-tests"


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session")
def helm() -> str:
    found = os.environ.get("HELM") or shutil.which("helm")
    if found is None:
        pytest.skip("NOT TESTED: the chart, because there is no helm (PATH or HELM)")
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("NOT TESTED: alerts and dashboard, because there is no promtool on the PATH")
    return found


@dataclass(frozen=True, slots=True)
class Helm:
    """Runs helm, with a kubeconfig where it needs a cluster."""

    binary: str
    home: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        if self.kubeconfig is not None:
            environ["KUBECONFIG"] = str(self.kubeconfig)
        done = subprocess.run(  # noqa: PLW1510 - whether it must succeed is the caller's choice
            [self.binary, *arguments], env=environ, capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="session")
def run_helm(
    helm: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    return Helm(helm, tmp_path_factory.mktemp("helm")).run


@pytest.fixture(scope="session")
def render(
    run_helm: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., list[dict[str, Any]]]:
    """Objects of the chart for some values, hooks too."""
    folder = tmp_path_factory.mktemp("values")

    def objects(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        path = folder / "values.yaml"
        path.write_text(yaml.safe_dump(dict(values or {})))
        done = run_helm(
            "template", "detection-queue", str(CHART), "--namespace", "detection",
            "--values", str(path), "--api-versions", "monitoring.coreos.com/v1",
        )  # fmt: skip
        return [item for item in yaml.safe_load_all(done.stdout) if item]

    return objects


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A real API server with RBAC.

    Attributes:
        folder: For files of the tests.
        url: Of the API server.
        certificate: Of its authority.
        kubectl: The binary.
        kubeconfig: Of an administrator.
    """

    folder: Path
    url: str
    certificate: Path
    kubectl: Path
    kubeconfig: Path

    def kubeconfig_for(self, name: str, token: str) -> Path:
        """Write a kubeconfig for the bearer of a token."""
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.certificate)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        environ = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}
        done = subprocess.run(  # noqa: PLW1510 - whether it must succeed is the caller's choice
            [self.kubectl, *arguments], env=environ, capture_output=True, text=True,
            input=stdin, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object or a list."""
        found: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json").stdout)
        return found

    def token(self, namespace: str, account: str) -> str:
        """Return a token of a service account."""
        return self.run("-n", namespace, "create", "token", account).stdout.strip()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(answers: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if answers():
                return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"{what} did not start within {START_S:.0f} s")


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver from KUBEBUILDER_ASSETS, in the style of envtest."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        pytest.skip("NOT TESTED: the chart on a real API server; KUBEBUILDER_ASSETS is not set")
    folder = tmp_path_factory.mktemp("cluster")
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd_url, peer_url = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    key, tokens = folder / "accounts.key", folder / "tokens.csv"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    tokens.write_text(f'{ADMIN},{ADMIN},{ADMIN},"system:masters"\n')
    etcd = [
        f"{assets}/etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync",
        "--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url,
        "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
        "--initial-cluster", f"default={peer_url}",
    ]  # fmt: skip
    server = [
        f"{assets}/kube-apiserver", "--etcd-servers", etcd_url,
        "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
        "--endpoint-reconciler-type", "none",
        "--secure-port", str(port), "--cert-dir", str(folder / "certificates"),
        "--token-auth-file", str(tokens), "--authorization-mode", "RBAC",
        "--service-account-issuer", "https://kubernetes.default.svc",
        "--service-account-key-file", str(key), "--service-account-signing-key-file", str(key),
        "--service-cluster-ip-range", "10.96.0.0/16",
        "--disable-admission-plugins", "ServiceAccount",
    ]  # fmt: skip
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in (("etcd", etcd), ("apiserver", server)):
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
            if name == "etcd":
                wait_until(lambda: _opens(f"{etcd_url}/health"), "etcd")
        plane = ControlPlane(
            folder=folder,
            url=f"https://127.0.0.1:{port}",
            certificate=folder / "certificates" / "apiserver.crt",
            kubectl=Path(assets) / "kubectl",
            kubeconfig=folder / f"{ADMIN}.kubeconfig",
        )
        plane.kubeconfig_for(ADMIN, ADMIN)
        ready = ("get", "--raw", "/readyz", "--request-timeout", "2s")
        wait_until(lambda: plane.run(*ready, check=False).returncode == 0, "kube-apiserver")
        yield plane
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            process.wait(30)


def _opens(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
