import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from detection_contract.media_types import MediaKind
from detection_operator.observe.ports import Address
from detection_operator.observe.values import Work
from detection_operator.observe.workers import HttpWorkers, parse_state
from detection_worker.pipeline.control import Controls, ControlServer

STATE: dict[str, Any] = {
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
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Worker:
    """A real control server with a state that can be steered."""

    def __init__(self) -> None:
        self.draining = False
        self.server = ControlServer(
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
    assert state.busy_expires_s == 1_767_225_600.5
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


@given(json_values | st.dictionaries(st.sampled_from(sorted(STATE)), json_values))
def test_no_answer_of_a_pod_breaks_the_operator(data: Any) -> None:
    state = parse_state(data)

    assert state is None or (state.in_flight >= 0 and 0 <= state.received_late <= state.received)


def test_failures_may_stand_beside_the_statistics() -> None:
    state = parse_state(json.loads(json.dumps({**STATE, "failed": 5})))

    assert state is not None
    assert state.failed == 5
