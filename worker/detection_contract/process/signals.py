"""What a process must do because it may be the first of a container."""

import os
import signal
from typing import Final

EXIT_TERMINATED: Final = 128 + signal.SIGTERM


def end_by_sigterm() -> None:
    """Let SIGTERM end this process until a handler of its own replaces this one.

    For the first process of a PID namespace the kernel drops every signal without a handler
    (pid_namespaces(7)), also those from outside. A pod that is deleted while its process still
    imports would go on, take up work, and be killed in the middle of it.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_TERMINATED))
