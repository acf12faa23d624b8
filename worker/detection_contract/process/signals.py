"""SIGTERM for a process that may be PID 1 of a container."""

import os
import signal
from typing import Final

EXIT_TERMINATED: Final = 128 + signal.SIGTERM


def end_by_sigterm() -> None:
    """End this process on SIGTERM until the program installs its own handler.

    The kernel drops signals to PID 1 of a namespace unless it has a handler for them
    (pid_namespaces(7)). Without one, a pod that is deleted while its process still imports would
    start to work and be killed in the middle of it.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_TERMINATED))
