"""Packets over a real socket pair."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from detection_worker.pipeline.service.feeders.channel import (
    LENGTH,
    MAX_BYTES,
    Channel,
    ChannelClosed,
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def framed(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


def test_packets_arrive_in_order_and_whole() -> None:
    one, two = map(Channel, socket.socketpair())
    large = {"text": "ä" * 1_000_000}

    def send() -> None:
        one.send(large)
        one.send({"n": 2})

    sender = threading.Thread(target=send)
    sender.start()

    assert two.receive(timeout_s=10) == large
    assert two.receive(timeout_s=10) == {"n": 2}
    sender.join()
    one.close()
    two.close()


def test_a_packet_that_comes_in_pieces_is_put_together(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, other = ends
    whole = framed(b'{"n":1}')
    other.sendall(whole[:2])
    assert channel.receive(timeout_s=0.01) is None
    other.sendall(whole[2:7])
    assert channel.receive(timeout_s=0.01) is None
    other.sendall(whole[7:])

    assert channel.receive(timeout_s=5) == {"n": 1}


def test_nothing_has_come_in_time(ends: tuple[Channel, socket.socket]) -> None:
    started_s = time.monotonic()

    assert ends[0].receive(timeout_s=0.1) is None
    assert time.monotonic() - started_s >= 0.1


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        pytest.param(framed(b"{"), "not JSON", id="half an object"),
        pytest.param(framed(b"[]"), "no object", id="a list"),
        pytest.param(LENGTH.pack(MAX_BYTES + 1), "bytes", id="too long"),
    ],
)
def test_what_is_no_packet_closes_the_channel(
    ends: tuple[Channel, socket.socket], sent: bytes, why: str
) -> None:
    channel, other = ends
    other.sendall(sent)

    with pytest.raises(ChannelClosed, match=why):
        channel.receive(timeout_s=5)


def test_what_was_sent_before_the_end_still_arrives(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.sendall(framed(b'{"last":1}'))
    other.close()

    assert channel.receive(timeout_s=5) == {"last": 1}
    with pytest.raises(ChannelClosed, match="ended"):
        channel.receive(timeout_s=5)
    with pytest.raises(ChannelClosed):
        channel.send({"n": 1})


def test_one_that_reads_nothing_does_not_hold_up_the_sender(
    ends: tuple[Channel, socket.socket],
) -> None:
    with pytest.raises(ChannelClosed, match="takes nothing"):
        ends[0].send({"text": "x" * 10_000_000}, timeout_s=0.1)
