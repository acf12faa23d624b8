"""A feeder as its parent sees it, with a program of a few lines in its place."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from detection_worker.pipeline.device.server import feeder_sockets
from detection_worker.pipeline.service.feeders import fleet as fleets
from detection_worker.pipeline.service.feeders import process as processes
from detection_worker.pipeline.service.feeders.fleet import Fleet
from detection_worker.pipeline.service.feeders.orders import Orders, orders_of
from detection_worker.pipeline.service.feeders.process import FeederProcess
from detection_worker.settings import ConsumerSettings, Settings

SPEAK = """
import socket, sys
from detection_worker.pipeline.service.feeders.channel import Channel
channel = Channel(socket.socket(fileno=int(sys.argv[1])))
channel.receive()
channel.send({packet!r})
"""


LISTEN = """
import socket, sys
from detection_worker.pipeline.service.feeders.channel import Channel
channel = Channel(socket.socket(fileno=int(sys.argv[1])))
asked = []
while asked[-1:] != ["drain"]:
    asked.append(channel.receive().get("ask"))
channel.send({"event": "failed", "text": " ".join(asked[1:])})
"""


@pytest.fixture
def orders() -> Orders:
    consumer = ConsumerSettings(queue_url="http://sqs.test/1/q")
    return orders_of(Settings(), consumer, decoders=1, index=0, feeders=1)


@pytest.fixture
def ended(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Runs a feeder that says one thing and ends, before anybody listens."""
    ours, theirs = feeder_sockets()

    def run(packet: dict[str, Any]) -> FeederProcess:
        program = (sys.executable, "-c", SPEAK.format(packet=packet))
        monkeypatch.setattr(processes, "PROGRAM", program)
        feeder = FeederProcess(orders, theirs)
        feeder._process.wait(60)
        return feeder

    with ours:
        yield run


def test_the_last_words_of_one_that_has_ended_are_heard(ended: Callable[..., Any]) -> None:
    feeder = ended({"event": "stopped", "clean": True})

    assert feeder.ended() == "ended with status 0"
    assert feeder.last_words == {"event": "stopped", "clean": True}
    feeder.kill()


def test_why_one_cannot_start_is_heard_after_its_end(ended: Callable[..., Any]) -> None:
    feeder = ended({"event": "failed", "text": "no decoders"})

    assert feeder.ended() == "ended with status 0"
    assert feeder.failed == "no decoders"
    feeder.kill()


def test_one_that_does_not_answer_is_not_asked_again_but_gets_its_orders(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, "-c", LISTEN))
    monkeypatch.setattr(fleets, "ANSWER_S", 0.0)
    monkeypatch.setattr(fleets, "LATE_ANSWER_S", 0.0)
    fleet = Fleet([orders], on_restart=lambda: None)
    fleet.start()
    feeder = fleet.slots[0].process
    assert feeder is not None
    os.kill(feeder.pid, signal.SIGSTOP)
    for _ in range(290):  # more would fill its socket
        fleet.ask("status")
        fleet.ask("metrics")
    fleet.drain()
    os.kill(feeder.pid, signal.SIGCONT)
    feeder._process.wait(60)

    assert feeder.ended() == "ended with status 0"
    assert feeder.failed == "status drain"
    fleet.kill()


def test_a_stop_does_not_wait_for_the_exit_of_one_that_has_not_stopped(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, "-c", LISTEN))
    monkeypatch.setattr(fleets, "EXIT_MARGIN_S", 3600.0)
    fleet = Fleet([orders], on_restart=lambda: None)
    fleet.start()
    fleet.slots[0].begun = True
    feeder = fleet.slots[0].process
    assert feeder is not None
    os.kill(feeder.pid, signal.SIGSTOP)

    assert not fleet.stop(grace_s=0.1, hurry=lambda: False)
    assert feeder.ended() is None
    fleet.kill()


def test_without_descriptors_a_feeder_is_started_later(
    orders: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet([orders], on_restart=lambda: None)
    ours, theirs = feeder_sockets()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for more in (0, 1, 3):
        resource.setrlimit(resource.RLIMIT_NOFILE, (theirs.fileno() + more, hard))
        try:
            fleet.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert fleet.slots[0].process is None
    ours.close()
    theirs.close()

    said = [(r.getMessage(), r.__dict__["feeder"]) for r in caplog.records]
    assert said == [("feeder 1 cannot be started: Too many open files", 1)] * 3
