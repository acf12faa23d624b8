"""A Prometheus that knows a made-up history: no scrapes, no waiting."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detection_testing.monitoring.history import History

START_S = 120.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus.

    Attributes:
        url: Its address.
    """

    url: str

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer.

        Raises:
            ValueError: Prometheus refuses the query; its message says why.
        """
        try:
            address = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - http
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{json.load(error)['error']}: {query}") from error

    def instant(self, expr: str, at_s: float) -> list[dict[str, Any]]:
        """Return the vector of an expression at a time."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expr, time=f"{at_s}")[
            "result"
        ]
        return found

    def drawn(
        self, expr: str, start_s: float, end_s: float, step_s: float
    ) -> list[dict[str, Any]]:
        """Return the series of an expression over a range."""
        window = {"start": f"{start_s}", "end": f"{end_s}", "step": f"{step_s}"}
        found: list[dict[str, Any]] = self.get("/api/v1/query_range", query=expr, **window)[
            "result"
        ]
        return found


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def knowing(history: History, folder: Path) -> Iterator[Prometheus]:
    """Run a Prometheus that holds a history, until the block ends.

    Args:
        history: All that it knows.
        folder: An empty folder for its files.

    Raises:
        FileNotFoundError: There is no prometheus or promtool on the PATH.
        TimeoutError: It does not start.
    """
    text, blocks = folder / "history.txt", folder / "tsdb"
    history.write(text)
    programs = {name: shutil.which(name) for name in ("prometheus", "promtool")}
    for name, found in programs.items():
        if found is None:
            raise FileNotFoundError(f"no {name} on the PATH")
    make = [programs["promtool"] or "", "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    blocks.mkdir()
    subprocess.run([*make, str(text), str(blocks)], check=True, capture_output=True)  # noqa: S603
    (folder / "prometheus.yml").write_text("{}\n")
    url = f"127.0.0.1:{_free_port()}"
    run = [
        programs["prometheus"] or "", f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={blocks}", f"--web.listen-address={url}",
        "--storage.tsdb.retention.time=10y",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(run, stdout=log, stderr=log)  # noqa: S603
    try:
        _await(f"http://{url}/-/ready")
        yield Prometheus(f"http://{url}")
    finally:
        process.terminate()
        process.wait()


def _await(url: str) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - http
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no answer from {url} within {START_S:.0f} s")
