import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from detection_contract.media_types import MediaKind
from detection_operator.readers.ports import Address
from detection_operator.readers.values import Work
from detection_operator.readers.workers import MAX_BODY_BYTES, HttpWorkers, parse_state
from detection_worker.pipeline.service.control import Controls, serve

STATE: dict[str, Any] = {
    "time": 1_767_225_590.25,
    "busy": True,
    "busy_expires_at": "2026-01-01T00:00:00.500Z",
    "in_flight": 3,
    "held_seconds": 12.5,
    "draining": False,
    "drained": False,
    "started_at": 1_700_000_000.5,
    "received": 9,
    "received_late": 2,
    "received_message_age_s": 4.5,
    "served": {"video": {"messages": 4, "seconds": 40.0, "squares": 410.0}},
    "statistics": {"failed": 1},
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Worker:
    """A real control server with a state that can be steered."""

    def __init__(self) -> None:
        self.draining = False
        self.server = serve(
            Controls(
                health=dict,
                readiness=dict,
                state=lambda: {**STATE, "draining": self.draining},
                drain=lambda: self.steer(draining=True),
                resume=lambda: self.steer(draining=False),
                registry=CollectorRegistry(),
                refresh=lambda: None,
            ),
            host="127.0.0.1",
            port=0,
        )
        self.address = Address("uid-1", "127.0.0.1", self.server.port)

    def steer(self, *, draining: bool) -> None:
        self.draining = draining


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.server.close()


@pytest.fixture
def http() -> Iterator[HttpWorkers]:
    made = HttpWorkers(4)
    yield made
    made.close()


def test_a_worker_s_state_is_understood(worker: Worker, http: HttpWorkers) -> None:
    state = http.states([worker.address])["uid-1"]

    assert (state.busy, state.in_flight, state.received, state.failed) == (True, 3, 9, 1)
    assert (state.said_at_s, state.busy_expires_s) == (1_767_225_590.25, 1_767_225_600.5)
    assert state.started_at_s == 1_700_000_000.5
    assert state.served == {MediaKind.VIDEO: Work(4, 40.0, 410.0)}


def test_a_worker_drains_and_resumes(worker: Worker, http: HttpWorkers) -> None:
    drained = http.drain(worker.address)
    assert drained is not None
    assert drained.draining

    resumed = http.resume(worker.address)
    assert resumed is not None
    assert not resumed.draining


def test_those_that_do_not_answer_are_left_out(worker: Worker, http: HttpWorkers) -> None:
    nobody = Address("uid-2", "127.0.0.1", 1)

    assert http.states([worker.address, nobody]).keys() == {"uid-1"}
    assert http.drain(nobody) is None
    assert http.states([]) == {}


@settings(deadline=None)
@given(json_values | st.dictionaries(st.sampled_from(sorted(STATE)), json_values))
def test_no_answer_of_a_pod_breaks_the_operator(data: Any) -> None:
    state = parse_state(data)

    assert state is None or (state.in_flight >= 0 and 0 <= state.received_late <= state.received)


def test_failures_may_stand_beside_the_statistics() -> None:
    state = parse_state(json.loads(json.dumps({**STATE, "failed": 5})))

    assert state is not None
    assert state.failed == 5


def test_numbers_that_no_worker_can_mean_count_as_none() -> None:
    state = parse_state({**STATE, "received": 10**400, "in_flight": 1e308, "held_seconds": 1e300})

    assert state is not None
    assert (state.received, state.received_late, state.in_flight) == (0, 0, 0)
    assert state.held_seconds == 0.0


class Impostor:
    """Answers each request with the same bytes: some at once, the others one by one."""

    def __init__(self, at_once: bytes, slowly: bytes = b"") -> None:
        self._answer = at_once, slowly
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("uid-3", "127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        at_once, slowly = self._answer
        with contextlib.suppress(OSError), connection:
            connection.recv(65_536)
            connection.sendall(at_once)
            for number in range(len(slowly)):
                if self._stop.wait(TRICKLE_S):
                    return
                connection.sendall(slowly[number : number + 1])
            self._stop.wait(PATIENCE_S)


TRICKLE_S = 0.02
SHORT_S = 0.3
PATIENCE_S = 20.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * (MAX_BODY_BYTES - 10), id="deeply nested"),
        pytest.param(b'{"busy": true, "received": ' + b"9" * 5000 + b"}", id="a very long number"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[]", id="no state"),
    ],
)
def test_an_answer_that_is_no_state_is_none(http: HttpWorkers, body: bytes) -> None:
    with contextlib.closing(Impostor(HEAD % len(body) + body)) as impostor:
        assert http.states([impostor.address]) == {}
        assert http.drain(impostor.address) is None


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [
        pytest.param(HEAD % 2000, b" " * 2000, id="its body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 2000, id="its head"),
        pytest.param(b"", b"", id="all of it"),
    ],
)
def test_an_answer_that_trickles_in_is_not_waited_for(at_once: bytes, slowly: bytes) -> None:
    with (
        contextlib.closing(Impostor(at_once, slowly)) as impostor,
        contextlib.closing(HttpWorkers(4, timeout_s=SHORT_S)) as http,
    ):
        start_s = time.monotonic()
        assert http.drain(impostor.address) is None
        assert time.monotonic() - start_s < PATIENCE_S


def test_workers_that_trickle_do_not_keep_the_others_from_being_heard(worker: Worker) -> None:
    with (
        contextlib.closing(Impostor(HEAD % 2000, b" " * 2000)) as impostor,
        contextlib.closing(HttpWorkers(2, timeout_s=SHORT_S)) as http,
    ):
        slow = [impostor.address] * 4
        assert http.states(slow) == {}
        end_s = time.monotonic() + PATIENCE_S
        # On a busy machine it may take longer than that once.
        while http.states([worker.address]).keys() != {"uid-1"}:
            assert time.monotonic() < end_s
