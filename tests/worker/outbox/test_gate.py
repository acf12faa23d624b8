"""The gate in front of the callback client."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from detection_contract.error_codes import ErrorCode
from detection_tracing.port import Span
from detection_worker.core.outbox.hosts import OPEN_AFTER
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox.gate import GatedCallbacks, HostGate, HostRefused

URL = "https://receiver.example:8443/cb?token=secret"
DOWN = JobError(ErrorCode.CALLBACK_UNREACHABLE, "it answered 503")


class Client:
    """Makes ``tries`` tries of each post, as the real one does, and ends with ``error``."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.tries = 1
        self.made = 0
        self.before_try: Callable[[], None] = lambda: None

    def post(
        self,
        url: str,
        body: bytes,
        *,
        webhook_id: str,
        request_id: str,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
        trace: Span | None = None,
    ) -> None:
        del url, body, webhook_id, request_id, trace
        for _ in range(self.tries):
            if cancelled():
                raise Cancelled
            on_progress()
            self.made += 1
            self.before_try()
        if self.error is not None:
            raise self.error


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def gate(registry: CollectorRegistry, now: list[float]) -> HostGate:
    return HostGate(OutboxMetrics(registry), clock=lambda: now[0], random01=lambda: 0.0)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def gated(client: Client, gate: HostGate) -> GatedCallbacks:
    return GatedCallbacks(client, gate, threads=4)


def post(gated: GatedCallbacks, url: str = URL, **options: Any) -> None:
    given: dict[str, Any] = {
        "webhook_id": "msg_1_0",
        "request_id": "r",
        "on_progress": lambda: None,
        "cancelled": lambda: False,
        **options,
    }
    gated.post(url, b"{}", **given)


def test_a_host_that_fails_is_left_out_and_named_without_the_secrets_of_its_url(
    gated: GatedCallbacks, client: Client, gate: HostGate, registry: CollectorRegistry
) -> None:
    client.error = DOWN
    for _ in range(OPEN_AFTER):
        with pytest.raises(JobError, match="it answered 503"):
            post(gated)

    with pytest.raises(HostRefused) as refused:
        post(gated)

    assert client.made == OPEN_AFTER
    assert refused.value.code is ErrorCode.CALLBACK_UNREACHABLE
    assert refused.value.message == (
        "The callback to https://receiver.example:8443 was not tried: it does not answer"
    )
    assert refused.value.retry_after_s == 5.0
    with pytest.raises(HostRefused):
        gated.check(URL)
    state = gate.state()
    assert state["open_circuits"] == 1
    assert state["open_hosts"] == [
        {"host": "https://receiver.example:8443", "failures": 5, "down_s": 0.0, "retry_in_s": 5.0}
    ]
    count = registry.get_sample_value
    assert count("detection_worker_callback_circuits_open") == 1
    deferred = "detection_worker_callbacks_deferred_total"
    assert count(deferred, {"reason": "circuit_open"}) == 2


def test_tries_count_and_no_further_one_begins_once_the_circuit_is_open(
    gated: GatedCallbacks, client: Client
) -> None:
    client.tries, client.error = 10 * OPEN_AFTER, DOWN

    with pytest.raises(JobError, match=r"failed after 6 attempt\(s\): others to it failed too"):
        post(gated)

    assert client.made == OPEN_AFTER + 1


def test_one_try_looks_whether_the_host_is_back(
    gated: GatedCallbacks, client: Client, now: list[float]
) -> None:
    client.tries, client.error = OPEN_AFTER, DOWN
    with pytest.raises(JobError):
        post(gated)
    made, now[0] = client.made, 5.0

    with pytest.raises(JobError, match="others to it failed"):
        post(gated)
    assert client.made == made + 1
    with pytest.raises(HostRefused):
        post(gated)

    now[0], client.error, client.tries = 20.0, None, 1
    post(gated)
    post(gated)


def test_an_answer_that_rejects_the_callback_shows_that_the_host_is_well(
    gated: GatedCallbacks, client: Client, gate: HostGate
) -> None:
    client.error = JobError(ErrorCode.CALLBACK_REJECTED, "answered 410")
    for _ in range(3 * OPEN_AFTER):
        with pytest.raises(JobError, match="410"):
            post(gated)

    assert gate.state() == {"open_circuits": 0, "open_hosts": []}


@pytest.mark.parametrize("error", [Cancelled(), RuntimeError("a bug")])
def test_an_attempt_that_says_nothing_of_the_host_leaves_it_as_it_was(
    gated: GatedCallbacks, client: Client, gate: HostGate, error: Exception
) -> None:
    client.error = error
    for _ in range(3 * OPEN_AFTER):
        with pytest.raises(type(error)):
            post(gated, cancelled=lambda: client.made < 0 or isinstance(error, Cancelled))

    assert gate.state()["open_circuits"] == 0
    client.error = None
    post(gated)


def test_a_bad_url_is_nobodys_fault(gated: GatedCallbacks) -> None:
    with pytest.raises(JobError) as caught:
        post(gated, "ftp://receiver.example/")

    assert caught.value.code is ErrorCode.BAD_CALLBACK_URL


def test_a_host_that_hangs_leaves_a_thread_to_the_others(
    gated: GatedCallbacks, client: Client, registry: CollectorRegistry
) -> None:
    inside, release = threading.Semaphore(0), threading.Event()

    def hang() -> None:
        inside.release()
        release.wait(30)

    client.before_try = hang
    threads = [threading.Thread(target=lambda: post(gated)) for _ in range(3)]
    for thread in threads:
        thread.start()
        assert inside.acquire(timeout=30)
    try:
        with pytest.raises(HostRefused, match="answers slowly and holds its share"):
            post(gated)
        deferred = "detection_worker_callbacks_deferred_total"
        assert registry.get_sample_value(deferred, {"reason": "share_used"}) == 1
    finally:
        release.set()
        for thread in threads:
            thread.join()
    client.before_try = lambda: None
    post(gated)
