"""Watched ports note their calls, and the process dies at the chosen one and nowhere else."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.crashes.killing import Call, Kill, Watch, calls_in
from detection_testing.crashes.process import Order
from detection_testing.crashes.server import ForkServer


@pytest.mark.parametrize("text", ["before A.b", "after A.b", "after A.b 3"])
def test_a_place_to_die_at_is_read_as_it_is_written(text: str) -> None:
    assert str(Kill.from_text(text)) == text


@pytest.mark.parametrize("text", ["", "A.b", "during A.b", "after A.b 1 2", "after A.b x"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Kill.from_text(text)


def test_calls_are_noted_in_order_even_if_they_raise(tmp_path: Path) -> None:
    class Port:
        colour = "red"

        def work(self, number: int) -> int:
            return 10 // number

    port = Watch(tmp_path / "calls", Kill(call="Port.work", number=3)).wrap("Port", Port())

    assert port.colour == "red"
    assert port.work(5) == 2
    with pytest.raises(ZeroDivisionError):
        port.work(0)
    noted = calls_in(tmp_path / "calls")
    assert [(call.name, call.returned) for call in noted] == [
        ("Port.work", False),
        ("Port.work", True),
    ] * 2
    assert isinstance(noted[0], Call)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as running:
        yield running


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as running:
        yield running


def order_for(aws: LocalAws, folder: Path, kill: str | None) -> Order:
    """Return a worker for a queue that holds one message."""
    queue_url, _ = aws.create_queue(f"q-{folder.name}")
    url = aws.put_object("media", "a.png", b"\x07")
    body = {"sqs_to_ml_url": url, "callback_url": aws.callback_url(f"/ok/{folder.name}")}
    aws.send(queue_url, [json.dumps(body)])
    return Order(
        arguments=[
            "consume",
            "--run-once",
            *("--queue-url", queue_url),
            *("--device", "cpu"),
            *("--wait-time", "1"),
            "--callback-allow-private",
        ],
        environment=aws.environment(),
        calls=str(folder / "calls"),
        log=str(folder / "log"),
        kill=kill,
    )


def test_a_frozen_worker_goes_on_where_it_was(
    aws: LocalAws, forks: ForkServer, tmp_path: Path
) -> None:
    pid = forks.freeze(order_for(aws, tmp_path, "before MessageSource.delete"))

    assert calls_in(tmp_path / "calls")[-1] == Call(pid, "MessageSource.delete", returned=False)
    assert forks.resume(pid) == 0
    assert calls_in(tmp_path / "calls")[-1] == Call(pid, "MessageSource.delete", returned=True)


def test_a_worker_that_is_never_frozen_is_an_error(
    aws: LocalAws, forks: ForkServer, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="ended with 0"):
        forks.freeze(order_for(aws, tmp_path, "before MessageSource.delete 2"))


@pytest.mark.parametrize(
    ("kill", "code", "last", "callbacks"),
    [
        pytest.param(None, 0, ("MessageSource.delete", True), 1, id="nowhere"),
        pytest.param(
            "before CallbackClient.post", -9, ("CallbackClient.post", False), 0, id="before"
        ),
        pytest.param(
            "after CallbackClient.post", -9, ("CallbackClient.post", True), 1, id="after"
        ),
        pytest.param(
            "after CallbackClient.post 2", 0, ("MessageSource.delete", True), 1, id="never"
        ),
    ],
)
def test_a_real_worker_dies_where_it_is_told_to(
    aws: LocalAws,
    forks: ForkServer,
    tmp_path: Path,
    kill: str | None,
    code: int,
    last: tuple[str, bool],
    callbacks: int,
) -> None:
    order = order_for(aws, tmp_path, kill)

    assert forks.run(order) == code, (tmp_path / "log").read_text()
    noted = calls_in(tmp_path / "calls")
    assert (noted[-1].name, noted[-1].returned) == last
    arrived = [c for c in aws.callbacks() if c.path == f"/ok/{tmp_path.name}"]
    assert len(arrived) == callbacks
