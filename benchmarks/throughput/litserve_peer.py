"""LitServe as a peer: a server that decodes, batches and scores; it has no queue of its own.

Optional: ``pip install --no-deps -r requirements/bench.txt``, as ``make bench`` does. Where it is
not installed, ``why_absent`` says so.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BRIDGE_THREADS: Final = 32
START_S: Final = 120.0
STOP_S: Final = 10.0


def why_absent() -> str | None:
    """Return why there is no such row; None if there can be one."""
    if importlib.util.find_spec("litserve") is None:
        return "not installed: pip install --no-deps -r requirements/bench.txt"
    return None


@contextmanager
def serving(models_dir: Path) -> Iterator[str]:
    """Serve from processes of their own; yields the URL that takes a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "throughput.litserve_api", str(models_dir), str(port)],
        stdout=sys.stderr,
        start_new_session=True,
    )
    try:
        _wait_for(server, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        # Its processes outlive it otherwise; all of them are in its group.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(STOP_S)


def _wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise SystemExit("LitServe did not start")
