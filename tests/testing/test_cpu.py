"""CPU time of a process and of its descendants."""

import subprocess
import sys
import time

from detection_testing.cpu import children_of, own_cpu_s, tree_cpu_s

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
ENOUGH_S = 0.5
"""More than one of the two burns; a little less than both, for the times are rounded down."""
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
living = subprocess.Popen([sys.executable, "-c", {BURN!r} + "time.sleep(600)"])
print("burnt", flush=True)
sys.stdin.read()
living.kill()
living.wait()
"""


def test_descendants_count_while_they_live_and_after_they_ended() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while tree_cpu_s(process.pid) < ENOUGH_S and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tree_cpu_s(process.pid) >= ENOUGH_S
        assert 0 < own_cpu_s(process.pid) < ENOUGH_S
        assert len(children_of(process.pid)) == 1
        process.stdin.close()
    assert process.returncode == 0


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert tree_cpu_s(process.pid) == own_cpu_s(process.pid) == 0.0
    assert children_of(process.pid) == []
