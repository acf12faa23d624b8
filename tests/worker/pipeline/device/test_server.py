"""A server keeps its feeders apart: one that lies, hangs or ends is no trouble for the others."""

import errno
import gc
import os
import resource
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detection_contract.media_types import MediaKind
from detection_worker.pipeline.device import link
from detection_worker.pipeline.device.client import DeviceLost, connect
from detection_worker.pipeline.device.link import MAX_TICKETS
from detection_worker.pipeline.device.memory import sealed_memory
from detection_worker.pipeline.device.server import feeder_sockets
from detection_worker.pipeline.device.wire import (
    MAX_PACKET_BYTES,
    Request,
    Says,
    UnitsAt,
    pack,
    request_body,
)

IMAGE, VIDEO, AUDIO = MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO
NO_BOXES = np.empty((0, 4), np.int32)


def at(kind: MediaKind, *shape: int, **changes: Any) -> UnitsAt:
    sides = (0, 0) if kind is AUDIO else (30, 20)
    given = {"own": False, "offset": 0, "size_px": sides, "boxes": NO_BOXES, **changes}
    return UnitsAt(kind=kind, shape=shape, **given)


def score(*tracks: UnitsAt, ticket: int = 1) -> bytes:
    return pack(
        Says.SCORE, ticket=ticket, body=request_body(Request(request_id="r", tracks=tracks))
    )


def welcomed(rig: Any) -> socket.socket:
    sock: socket.socket = rig.server.connect()
    sock.settimeout(20)
    _, fds, _, _ = socket.recv_fds(sock, MAX_PACKET_BYTES, 1)
    for fd in fds:
        os.close(fd)
    return sock


def descriptors() -> int:
    gc.collect()  # what tests before this one have left open
    return len(list(Path("/proc/self/fd").iterdir()))


BOXES = np.zeros((2, 4), np.int32)
LIES = {
    "an unknown packet": b"\xff" * 20,
    "a short header": b"\x02",
    "half a packet": score(at(IMAGE, 1, 8, 8, 3))[:-3],
    "an answer": pack(Says.SCORED, ticket=1),
    "a welcome": pack(Says.WELCOME),
    "a packet that is too long": bytes(MAX_PACKET_BYTES + 1),
    "no units": score(at(IMAGE, 0, 8, 8, 3)),
    "too many units": score(at(IMAGE, 401, 8, 8, 3)),
    "a wrong shape": score(at(IMAGE, 1, 8, 9, 3)),
    "few dimensions": score(at(IMAGE, 8)),
    "pictures as sound": score(at(AUDIO, 1, 8, 8, 3)),
    "an offset outside": score(at(IMAGE, 1, 8, 8, 3, offset=1 << 20)),
    "an offset far outside": score(at(IMAGE, 1, 8, 8, 3, offset=2**64 - 64)),
    "an end outside": score(at(IMAGE, 2, 8, 8, 3, offset=(1 << 20) - 256)),
    "an odd offset": score(at(AUDIO, 1, 16, offset=4)),
    "no descriptor": score(at(IMAGE, 1, 8, 8, 3, own=True)),
    "frames without boxes": score(at(VIDEO, 2, 8, 8, 3)),
    "frames of no size": score(at(VIDEO, 2, 0, 8, 3, boxes=BOXES)),
    "frames that are too wide": score(at(VIDEO, 2, 8, 1921, 3, boxes=BOXES)),
    "too many pixels": score(at(VIDEO, 64, 1920, 1920, 3, boxes=np.zeros((64, 4), np.int32))),
    "frames with four channels": score(at(VIDEO, 2, 8, 8, 4, boxes=BOXES)),
    "frames of two dimensions": score(at(VIDEO, 2, 8, 8, boxes=BOXES)),
    "frames of a picture without size": score(at(VIDEO, 2, 8, 8, 3, boxes=BOXES, size_px=(0, 9))),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_feeder_that_lies_is_disconnected_and_no_other(
    rig: Any, lie: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    honest = rig.feeder()
    with welcomed(rig) as liar:
        liar.send(lie)
        assert liar.recv(1) == b""

    assert "feeder 2 is disconnected: it broke the protocol: " in caplog.text
    assert [r.__dict__.get("feeder") for r in caplog.records] == [2]
    honest.put("a", honest.media(IMAGE, 3))
    assert honest.logits("a") == [-2]
    assert rig.server.feeders == 1


@pytest.mark.parametrize("which", ["unsealed", "too small", "a file"])
def test_memory_that_may_not_stay_is_refused(rig: Any, tmp_path: Path, which: str) -> None:
    (tmp_path / "file").write_bytes(b"x" * 4096)
    before = descriptors()
    fd = {
        "unsealed": lambda: os.memfd_create("x", os.MFD_ALLOW_SEALING),
        "too small": lambda: sealed_memory(8 * 8 * 3 - 1),
        "a file": lambda: os.open(tmp_path / "file", os.O_RDWR),
    }[which]()
    if which == "unsealed":
        os.ftruncate(fd, 4096)
    with welcomed(rig) as liar:
        socket.send_fds(liar, [score(at(IMAGE, 1, 8, 8, 3, own=True))], [fd])
        assert liar.recv(1) == b""
    os.close(fd)

    assert rig.eventually(lambda: descriptors() <= before)


def test_descriptors_that_nobody_asked_for_are_closed(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with welcomed(rig) as liar:
        before, fd = descriptors(), sealed_memory(4096)
        for number in range(20):
            socket.send_fds(liar, [pack(Says.CANCEL, ticket=number)], [fd, fd])
        os.close(fd)
        assert rig.eventually(lambda: descriptors() == before)
        socket.send_fds(liar, [pack(Says.CANCEL)], [liar.fileno()] * 50)
        assert liar.recv(1) == b""
    assert "descriptors were lost" in caplog.text


def test_memory_that_cannot_be_mapped_costs_one_feeder(
    rig: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feeder = rig.feeder()

    def refuse(fd: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("detection_worker.pipeline.device.server.mapped", refuse)
    feeder.put("large", feeder.media(VIDEO, *[1] * 12, side=400))

    assert feeder.lost.wait(20)
    assert feeder.outcome("large") is None
    assert "feeder 1 is disconnected: [Errno 12] Cannot allocate memory" in caplog.text


def test_a_number_that_is_in_use_is_refused(rig: Any) -> None:
    feeder = rig.feeder()
    feeder.put("gate", feeder.media(IMAGE, 7))
    assert rig.detectors[IMAGE].entered.wait(20)
    with welcomed(rig) as liar:
        liar.send(score(at(IMAGE, 1, 8, 8, 3)))
        liar.send(score(at(IMAGE, 1, 8, 8, 3)))
        assert liar.recv(1) == b""
    rig.open_gates()
    assert feeder.logits("gate") == [2]


def test_a_feeder_cannot_have_more_files_than_any_that_is_in_order(rig: Any) -> None:
    feeder = rig.feeder()
    feeder.put("gate", feeder.media(IMAGE, 7))
    assert rig.detectors[IMAGE].entered.wait(20)
    with welcomed(rig) as liar:
        for number in range(MAX_TICKETS):
            liar.send(score(at(IMAGE, 1, 8, 8, 3), ticket=number))
        assert rig.eventually(lambda: rig.server.waiting == MAX_TICKETS)
        assert rig.server.feeders == 2
        liar.send(score(at(IMAGE, 1, 8, 8, 3), ticket=MAX_TICKETS))
        assert liar.recv(1) == b""
    rig.open_gates()

    assert feeder.logits("gate") == [2]
    assert rig.eventually(lambda: rig.server.waiting == 0)
    assert rig.units == [1]


def test_a_feeder_that_reads_no_answers_blocks_nobody(rig: Any) -> None:
    with welcomed(rig) as slow:
        [link] = rig.server._links
        for number in range(800):
            slow.send(score(at(IMAGE, 8, 8, 8, 3), ticket=number))
        assert rig.eventually(lambda: not link.tickets)
        assert link._unsent
        feeder = rig.feeder()
        feeder.put("a", feeder.media(IMAGE, 3))
        assert feeder.logits("a") == [-2]

        assert read_answers(slow, 800) == set(range(800))
        assert rig.eventually(lambda: not link._unsent)
        slow.send(score(at(IMAGE, 1, 8, 8, 3), ticket=9999))
        assert read_answers(slow, 1) == {9999}


def read_answers(sock: socket.socket, count: int) -> set[int]:
    found: set[int] = set()
    while len(found) < count:
        packet = sock.recv(MAX_PACKET_BYTES)
        assert packet
        if packet[0] == Says.SCORED:
            found.add(int.from_bytes(packet[2:10], "little"))
    return found


def test_a_feeder_that_ends_loses_its_files_and_its_memory(rig: Any) -> None:
    other, before = rig.feeder(), descriptors()
    feeder = rig.feeder()
    feeder.put("gate", feeder.media(IMAGE, 7))
    assert rig.detectors[IMAGE].entered.wait(20)
    for i in range(5):
        feeder.put(str(i), feeder.media(IMAGE, i))
    feeder.device.sock.shutdown(socket.SHUT_RDWR)
    assert rig.eventually(lambda: rig.server.feeders == 1)
    assert feeder.lost.wait(20)
    rig.open_gates()
    other.put("a", other.media(IMAGE, 1))

    assert other.logits("a") == [-4]
    assert rig.units == [1, 1]
    assert set(feeder.outcomes.values()) == {None}
    assert len(feeder.outcomes) == 6
    rig.feeders.remove(feeder)
    del feeder

    def closed() -> bool:
        gc.collect()
        return descriptors() <= before

    assert rig.eventually(closed)


def test_thousands_of_feeders_that_come_and_go_leave_nothing_behind(rig: Any) -> None:
    before, maps = descriptors(), len(Path("/proc/self/maps").read_text().splitlines())
    for i in range(3000):
        sock = rig.server.connect()
        if i % 3 == 0:
            sock.send(score(at(IMAGE, 1, 8, 8, 3)))
        sock.close()
    assert rig.eventually(lambda: rig.server.feeders == 0)
    feeder = rig.feeder()
    feeder.put("a", feeder.media(IMAGE, 1))

    assert feeder.logits("a") == [-4]
    assert rig.eventually(lambda: descriptors() <= before + 4)
    assert len(Path("/proc/self/maps").read_text().splitlines()) < maps + 40


def test_without_descriptors_a_feeder_is_not_served_and_the_others_are(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    feeder = rig.feeder()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, theirs = feeder_sockets()
    resource.setrlimit(resource.RLIMIT_NOFILE, (theirs.fileno() + 1, hard))
    try:
        rig.server.attach(ours)
        with pytest.raises(DeviceLost, match="not welcomed"):
            connect(theirs, timeout_s=20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert rig.eventually(lambda: "feeder 2 cannot be served: " in caplog.text)
    feeder.put("a", feeder.media(IMAGE, 1))
    assert feeder.logits("a") == [-4]


def test_without_memory_a_feeder_is_not_served_and_nothing_stays_open(
    rig: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(link, "mapped", full)
    before = descriptors()
    for number in (3, 4):
        ours, theirs = feeder_sockets()
        rig.server.attach(ours, number=number)
        with pytest.raises(DeviceLost, match="not welcomed"):
            connect(theirs, timeout_s=20)
    del ours, theirs

    assert rig.eventually(lambda: descriptors() == before)
    said = "feeder 4 cannot be served: [Errno 12] Cannot allocate memory"
    assert rig.eventually(lambda: said in caplog.text)


def test_a_feeder_waits_for_detectors_only_so_long(rig: Any) -> None:
    ours, theirs = feeder_sockets()
    with ours, pytest.raises(DeviceLost, match="timed out"):
        connect(theirs, timeout_s=0.05)


@pytest.mark.parametrize(
    "answer", [pack(Says.PROGRESS), pack(Says.WELCOME, body=b"{}"), b"", pack(Says.WELCOME)]
)
def test_what_is_no_welcome_is_refused(answer: bytes) -> None:
    ours, theirs = feeder_sockets()
    fd = sealed_memory(4096)
    before = descriptors()
    with ours:
        socket.send_fds(ours, [answer or b"x"], [fd])
        with pytest.raises(DeviceLost, match="not welcomed"):
            connect(theirs, timeout_s=20)
    os.close(fd)
    assert descriptors() == before - 3


def nonsense(number: int) -> list[bytes]:
    return [
        pack(Says.SCORED, ticket=number, body=b"x"),
        pack(Says.SCORED, ticket=number + 1),
        pack(Says.FAILED, ticket=number, body=b"{}"),
        pack(Says.CANCEL, ticket=number),
        b"?",
    ]


@pytest.mark.parametrize("which", range(5))
def test_a_feeder_gives_up_on_a_device_that_talks_nonsense(
    rig: Any, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    feeder = rig.feeder()
    feeder.put("a", feeder.media(IMAGE, 7))
    [link] = rig.server._links
    link.send([nonsense(1)[which]])

    assert feeder.lost.wait(20)
    assert feeder.outcome("a") is None
    assert "the connection to the device broke" in caplog.text
    feeder.put("b", feeder.media(IMAGE, 1))
    assert feeder.outcome("b") is None
    feeder.inference.close()


def test_units_that_cannot_be_handed_over_fail_their_file(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeder = rig.feeder()

    def refuse(*args: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "send_fds", refuse)
    feeder.put("large", feeder.media(VIDEO, *[1] * 12, side=400))
    feeder.put("small", feeder.media(IMAGE, 1))

    large = feeder.outcome("large")
    assert large.failure.message == (
        "the file cannot be handed to the device: Too many open files"
    )
    assert feeder.logits("small") == [-4]
