"""Probes, metrics and further paths over real HTTP."""

import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry, Gauge

from detection_contract.process.probes import ProbeServer


@dataclass
class Program:
    healthy: bool | str = True
    calls: list[str] = field(default_factory=list)
    port: int = 0

    def get(self, path: str, *, post: bool = False) -> tuple[int, str]:
        url, data = f"http://127.0.0.1:{self.port}{path}", b"ignored" if post else None
        try:
            with urllib.request.urlopen(url, data, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def act(self) -> dict[str, object]:
        self.calls.append("act")
        return {"calls": len(self.calls)}


@pytest.fixture
def program() -> Iterator[Program]:
    found, registry = Program(), CollectorRegistry()
    depth = Gauge("depth", "Depth.", registry=registry)
    server = ProbeServer(
        "a-program",
        host="127.0.0.1",
        port=0,
        health=lambda: {"reconciling": found.healthy},
        readiness=dict,
        registry=registry,
        refresh=lambda: depth.set(3),
        endpoints={("POST", "/act"): found.act, ("GET", "/state"): lambda: {"busy": False}},
    )
    found.port = server.port
    yield found
    server.close()


def test_a_probe_answers_with_its_checks(program: Program) -> None:
    status, body = program.get("/healthz?verbose")
    assert (status, json.loads(body)) == (200, {"status": "ok", "checks": {"reconciling": True}})

    program.healthy = "no resync for 900 s"
    status, body = program.get("/healthz")
    assert status == 503
    assert json.loads(body) == {
        "status": "failing",
        "checks": {"reconciling": "no resync for 900 s"},
    }
    assert program.get("/readyz")[0] == 200


def test_metrics_are_refreshed_before_they_are_read(program: Program) -> None:
    status, body = program.get("/metrics")

    assert status == 200
    assert "depth 3.0" in body


def test_a_path_answers_to_its_method_alone(program: Program) -> None:
    assert program.get("/state") == (200, '{"busy": false}\n')
    assert program.get("/state", post=True)[0] == 404
    assert program.get("/act")[0] == 405
    assert program.calls == []
    assert program.get("/act", post=True) == (200, '{"calls": 1}\n')
    assert program.get("/elsewhere")[0] == 404


def test_a_taken_port_is_an_error(program: Program) -> None:
    def nothing() -> dict[str, bool | str]:
        return {}

    with pytest.raises(OSError, match="in use"):
        ProbeServer(
            "another",
            host="127.0.0.1",
            port=program.port,
            health=nothing,
            readiness=nothing,
            registry=CollectorRegistry(),
        )


def test_a_client_that_closes_early_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    asked, gone = threading.Event(), threading.Event()

    def answer() -> dict[str, object]:
        asked.set()
        assert gone.wait(30)
        return {"late": True}

    server = ProbeServer(
        "a-program",
        host="127.0.0.1",
        port=0,
        health=dict,
        readiness=dict,
        registry=CollectorRegistry(),
        endpoints={("GET", "/late"): answer},
    )
    before = set(threading.enumerate())
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(30)
        (handler,) = set(threading.enumerate()) - before
        reset = struct.pack("ii", 1, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    gone.set()
    handler.join(30)
    server.close()

    assert not handler.is_alive()
    assert capfd.readouterr().err == ""
