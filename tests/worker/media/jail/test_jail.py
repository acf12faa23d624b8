import subprocess
import sys
from pathlib import Path

import pytest


def test_a_jailed_process_can_open_no_file_no_socket_and_no_program(tmp_path: Path) -> None:
    script = """
import os, socket, sys, threading
from detection_worker.media.jail import sandbox
granted = sandbox.give_up_rights()
def refused(act):
    try:
        act()
    except OSError:
        return "refused"
    return "allowed"
print(*granted)
print(refused(lambda: open("/etc/passwd")))
print(refused(lambda: open(sys.argv[1], "w")))
print(refused(lambda: socket.socket()))
print(refused(lambda: os.execv("/bin/true", ["true"])))
print(refused(os.fork))
print(refused(lambda: threading.Thread(target=int).start()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=True,
    )

    granted, *answers = done.stdout.splitlines()
    if "landlock" not in granted or "seccomp" not in granted:
        pytest.skip(f"this kernel only grants {granted}")
    assert answers == ["refused"] * 5 + ["allowed"]
