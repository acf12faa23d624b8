"""The informer by itself, without an API server."""

import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

# Maps the process's user to a number that no file names; rights on files stay what they were.
NAMELESS = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
WATCH = """
import sys
from kubernetes.client import Configuration
from detection_operator.runtime.informer import Informer
from detection_operator.kube.store import Store

config = Configuration()
config.host = sys.argv[1]
informer = Informer(config, ("default",), Store(), lambda key: None)
informer.start()
informer.ended.wait()
"""


def can_run(command: Sequence[str]) -> bool:
    """Tell whether the machine has the command and lets us use it."""
    try:
        return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_run(NAMELESS), reason="no user namespaces here")
def test_a_user_without_a_name_can_watch() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        host = f"http://127.0.0.1:{server.getsockname()[1]}"
        command = [*NAMELESS, sys.executable, "-P", "-c", WATCH, host]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                connection, _ = server.accept()
                connection.close()
            except TimeoutError:
                process.kill()
                _, said = process.communicate()
                pytest.fail(f"nothing was watched: {said.decode()[-500:]}")
            finally:
                process.kill()
