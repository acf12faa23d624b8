"""Packets: what is packed comes back, and whatever else arrives is refused."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.faces import SeenFace
from detection_worker.core.messages.outcome import Failure
from detection_worker.pipeline.device import wire
from detection_worker.pipeline.device.cards import parse_welcome
from detection_worker.pipeline.device.wire import (
    BadPacket,
    FileScores,
    FoundUnits,
    Request,
    Says,
    TrackScores,
    UnitsAt,
)

U32 = st.integers(0, 2**32 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)


@st.composite
def units_at(draw: st.DrawFn) -> UnitsAt:
    boxes = draw(st.integers(0, 20))
    return UnitsAt(
        kind=draw(st.sampled_from(MediaKind)),
        own=draw(st.booleans()),
        offset=draw(st.integers(0, 2**64 - 1)),
        shape=tuple(draw(st.lists(U32, min_size=1, max_size=wire.MAX_DIMENSIONS))),
        size_px=(draw(U32), draw(U32)),
        boxes=draw(arrays.arrays(np.int32, (boxes, 4))),
    )


REQUESTS = st.builds(
    Request,
    request_id=st.text(max_size=200),
    tracks=st.lists(units_at(), min_size=1, max_size=wire.MAX_TRACKS).map(tuple),
)


@given(REQUESTS)
def test_requests_come_back(request: Request) -> None:
    found = wire.parse_request(memoryview(wire.request_body(request)))

    assert found.request_id == request.request_id.encode(errors="replace").decode()
    for mine, theirs in zip(found.tracks, request.tracks, strict=True):
        assert (mine.kind, mine.own, mine.offset) == (theirs.kind, theirs.own, theirs.offset)
        assert (mine.shape, mine.size_px) == (theirs.shape, theirs.size_px)
        assert mine.boxes.tobytes() == theirs.boxes.tobytes()


def test_a_name_that_is_too_long_is_cut() -> None:
    at = UnitsAt(
        kind=MediaKind.AUDIO,
        own=False,
        offset=0,
        shape=(1, 2),
        size_px=(0, 0),
        boxes=np.empty((0, 4), np.int32),
    )
    found = wire.parse_request(
        memoryview(wire.request_body(Request(request_id="ü" * 5000, tracks=(at,))))
    )
    assert found.request_id == "ü" * (wire.MAX_ID_BYTES // 2)


@st.composite
def track_scores(draw: st.DrawFn) -> TrackScores:
    units = draw(st.integers(0, 20))
    face = st.builds(
        SeenFace,
        left=INT32,
        top=INT32,
        width=INT32,
        height=INT32,
        confidence=st.floats(allow_nan=False),
        track=INT32,
    )
    found = None
    if draw(st.booleans()):
        found = FoundUnits(
            frame=draw(arrays.arrays(np.int32, units)),
            boxes=draw(arrays.arrays(np.int32, (units, 4))),
            faces=tuple(draw(st.lists(face, min_size=units, max_size=units))),
        )
    return TrackScores(logits=draw(arrays.arrays(np.float32, units)), found=found)


SCORES = st.builds(
    FileScores,
    tracks=st.lists(track_scores(), min_size=1, max_size=2).map(tuple),
    seconds=st.floats(allow_nan=False),
)


@given(SCORES)
def test_scores_come_back_bit_by_bit(scores: FileScores) -> None:
    found = wire.parse_scores(wire.scores_body(scores))

    assert found.seconds == scores.seconds
    for mine, theirs in zip(found.tracks, scores.tracks, strict=True):
        assert mine.logits.tobytes() == theirs.logits.tobytes()
        assert (mine.found is None) == (theirs.found is None)
        if mine.found is not None and theirs.found is not None:
            assert mine.found.faces == theirs.found.faces
            assert mine.found.frame.tobytes() == theirs.found.frame.tobytes()
            assert mine.found.boxes.tobytes() == theirs.found.boxes.tobytes()


@given(st.binary(max_size=300_000))
def test_long_answers_are_sent_in_parts_that_fit(body: bytes) -> None:
    parts = wire.in_parts(Says.SCORED, ticket=3, body=body)

    packets = [wire.parse(memoryview(part)) for part in parts]
    assert all(len(part) <= wire.MAX_PACKET_BYTES for part in parts)
    assert b"".join(packet.body for packet in packets) == body
    assert [packet.more for packet in packets] == [True] * (len(parts) - 1) + [False]
    assert {(packet.says, packet.ticket) for packet in packets} == {(Says.SCORED, 3)}


def test_an_answer_of_several_packets_is_cut_at_the_limit() -> None:
    room = wire.MAX_PACKET_BYTES - len(wire.pack(Says.SCORED))
    for size, parts in ((0, 1), (room, 1), (room + 1, 2), (2 * room, 2), (2 * room + 1, 3)):
        assert len(wire.in_parts(Says.SCORED, ticket=1, body=bytes(size))) == parts


@given(REQUESTS, SCORES, st.data())
def test_what_is_cut_off_or_has_more_behind_is_refused(
    request: Request, scores: FileScores, data: st.DataObject
) -> None:
    for body, parse in (
        (wire.request_body(request), lambda b: wire.parse_request(memoryview(b))),
        (wire.scores_body(scores), wire.parse_scores),
    ):
        with pytest.raises(BadPacket):
            parse(body[: data.draw(st.integers(0, len(body) - 1))])
        with pytest.raises(BadPacket):
            parse(body + b"\0")


@given(st.binary(max_size=400))
def test_noise_is_refused_or_read_but_raises_nothing_else(noise: bytes) -> None:
    for parse in (
        lambda b: wire.parse(memoryview(b)),
        lambda b: wire.parse_request(memoryview(b)),
        wire.parse_scores,
        wire.parse_failure,
        parse_welcome,
    ):
        refused = False
        try:
            parse(noise)
        except BadPacket:
            refused = True
        assert refused or len(noise) >= 8


def test_failures_come_back() -> None:
    failure = Failure(code=ErrorCode.INFERENCE_FAILED, message="the detector failed: Ä")
    body = wire.failure_body(failure, seconds=0.1)
    assert wire.parse_failure(body) == (failure, 0.1)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"code": "no", "message": "", "seconds": 1}', b'"x"']
)
def test_a_failure_without_a_code_is_refused(body: bytes) -> None:
    with pytest.raises(BadPacket):
        wire.parse_failure(body)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"version": 2, "detectors": []}).encode(),
        json.dumps({"version": 1, "detectors": [{}]}).encode(),
        json.dumps({"version": 1, "detectors": 3}).encode(),
        struct.pack("d", 1.0),
    ],
)
def test_a_welcome_of_another_release_is_refused(body: bytes) -> None:
    with pytest.raises(BadPacket):
        parse_welcome(body)
