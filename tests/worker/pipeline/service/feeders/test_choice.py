"""Which worker the settings ask for."""

import atexit
import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detection_worker.cli.queue import consume
from detection_worker.errors import UsageError
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.pipeline.service.feeders import choice
from detection_worker.pipeline.service.feeders.worker import FedWorker
from detection_worker.settings import AwsSettings, ConsumerSettings, Settings

PLAIN = ConsumerSettings(queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/q")


@pytest.mark.parametrize(
    ("changes", "cores", "fed"),
    [
        pytest.param({"device": "cpu"}, 2, False, id="two cores"),
        pytest.param({"device": "cpu"}, 8, True, id="eight cores"),
        pytest.param({"device": "cuda"}, 2, True, id="a GPU"),
        pytest.param({"device": "cpu", "feeders": 1}, 1, True, id="asked for"),
        pytest.param({"device": "cpu", "feeders": 0}, 64, False, id="refused"),
        pytest.param({"device": "cuda", "feeders": 4, "run_once": True}, 64, False, id="once"),
        pytest.param({"device": "cuda", "dry_run": True}, 64, False, id="dry run"),
    ],
)
def test_settings_and_cores_choose_the_worker(
    monkeypatch: pytest.MonkeyPatch, changes: Any, cores: int, *, fed: bool
) -> None:
    monkeypatch.setattr(choice, "usable_cores", lambda: cores)

    worker = choice.make_worker(Settings(), replace(PLAIN, **changes))

    assert type(worker) is (FedWorker if fed else Consumer)


def test_a_handler_of_results_gets_them_in_its_own_process() -> None:
    worker = choice.make_worker(Settings(), replace(PLAIN, feeders=2), on_result=print)

    assert type(worker) is Consumer


def test_without_shared_memory_there_are_no_feeders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detection_worker.pipeline.device.memory.AVAILABLE", False)
    many = replace(PLAIN, device="cuda")

    assert type(choice.make_worker(Settings(), many)) is Consumer
    assert type(choice.make_worker(Settings(), replace(many, feeders=0))) is Consumer
    with pytest.raises(UsageError, match="Feeders need Linux"):
        choice.make_worker(Settings(), replace(many, feeders=2))


def test_a_system_without_shared_memory_can_start_a_worker() -> None:
    """As on macOS, where these names are missing."""
    program = """
import fcntl, os, socket
for name in [n for n in dir(fcntl) if "SEAL" in n]:
    delattr(fcntl, name)
for name in ("memfd_create", "MFD_CLOEXEC", "MFD_ALLOW_SEALING", "eventfd", "EFD_CLOEXEC"):
    delattr(os, name)
del socket.MSG_CMSG_CLOEXEC, socket.SOCK_SEQPACKET
from detection_worker.pipeline.service.feeders.choice import memory
print(memory.AVAILABLE)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout == "False\n"


def test_a_driver_tells_whether_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(choice, "GPU_FILES", (tmp_path / "none", driver))
    assert not choice.uses_gpu("auto")

    driver.touch()

    assert choice.uses_gpu("auto")
    assert choice.uses_gpu("cuda:1")
    assert not choice.uses_gpu("cpu")


def test_the_exit_of_a_consumer_does_not_look_through_the_objects_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_exit: list[object] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(consume, "start_logging", lambda _: None)
    made = SimpleNamespace(run=lambda: 3, hangs=False)
    monkeypatch.setattr(choice, "make_worker", lambda *_: made)
    loaded: Any = SimpleNamespace(settings=Settings(), aws_for_queue=lambda _: AwsSettings())

    code = consume._consume(loaded, ConsumerSettings(queue_url="http://sqs.test/1/q"))

    assert code == 3
    assert at_exit == [gc.freeze]


def test_a_consumer_whose_forward_pass_hangs_does_not_wait_for_it_at_its_exit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(atexit, "register", lambda _: None)
    monkeypatch.setattr(consume, "start_logging", lambda _: None)
    made = SimpleNamespace(run=lambda: 1, hangs=True)
    monkeypatch.setattr(choice, "make_worker", lambda *_: made)
    loaded: Any = SimpleNamespace(settings=Settings(), aws_for_queue=lambda _: AwsSettings())

    consume._consume(loaded, ConsumerSettings(queue_url="http://sqs.test/1/q"))

    assert ended == [1]
