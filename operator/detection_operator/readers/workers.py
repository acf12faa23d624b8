"""Requests to the control servers of workers, several at a time, with short timeouts."""

import http.client
import io
import json
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any, Final, cast

from detection_contract.environment import DRAIN_PATH, RESUME_PATH, STATE_PATH
from detection_contract.media_types import MediaKind
from detection_operator.readers.ports import Address
from detection_operator.readers.values import Work, WorkerState

TIMEOUT_S: Final = 2.0
"""A worker in the same cluster answers in milliseconds; a loaded one in tenths of a second."""
ALL_TIMEOUT_S: Final = 5.0
MAX_BODY_BYTES: Final = 256 * 1024
LARGEST: Final = 2.0**53
"""Above it a float cannot hold each integer: no count, time or sum of squares gets there."""
log = logging.getLogger(__name__)


class HttpWorkers:
    """Implements ``Workers``.

    Args:
        threads: Requests at a time.
        timeout_s: Limit of a whole request.
    """

    def __init__(self, threads: int = 16, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="workers")

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def states(self, addresses: Sequence[Address]) -> dict[str, WorkerState]:
        """Return the states of those that answered in time, by uid."""
        if not addresses:
            return {}
        asked = {self._pool.submit(self._ask, a, "GET", STATE_PATH): a for a in addresses}
        done, late = wait(asked, timeout=ALL_TIMEOUT_S)
        for future in late:
            future.cancel()
        answers = ((asked[future].uid, future.result()) for future in done)
        return {uid: state for uid, state in answers if state is not None}

    def drain(self, address: Address) -> WorkerState | None:
        """Ask a worker to drain; return its state afterwards, None when it did not answer."""
        return self._ask(address, "POST", DRAIN_PATH)

    def resume(self, address: Address) -> WorkerState | None:
        """Ask a worker to receive again; return as ``drain`` does."""
        return self._ask(address, "POST", RESUME_PATH)

    def _ask(self, address: Address, verb: str, path: str) -> WorkerState | None:
        try:
            return parse_state(json.loads(_request(address, verb, path, self._timeout_s)))
        # JSON may nest deeper than the parser can.
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as exc:
            reason = type(exc).__name__
            log.debug("worker did not answer", extra={"host": address.host, "reason": reason})
            return None


def parse_state(data: Any) -> WorkerState | None:
    """Return the state in a decoded answer, or None when it is no state.

    Pods are not trusted: numbers are checked, unknown fields ignored.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("busy"), bool):
        return None
    statistics = data.get("statistics")
    attempts = statistics.get("failed") if isinstance(statistics, Mapping) else 0
    received = _whole(data.get("received"))
    return WorkerState(
        busy=data["busy"],
        said_at_s=_time_s(data.get("time")),
        busy_expires_s=_time_s(data.get("busy_expires_at")),
        draining=data.get("draining") is True,
        drained=data.get("drained") is True,
        in_flight=_whole(data.get("in_flight")),
        held_seconds=_number(data.get("held_seconds")) or 0.0,
        received_age_s=_number(data.get("received_message_age_s")),
        started_at_s=_time_s(data.get("started_at")),
        served=_served(data.get("served")),
        received=received,
        received_late=min(received, _whole(data.get("received_late"))),
        failed=_whole(data.get("failed", attempts)),
    )


class _Timed:
    """The part of a socket that ``http.client`` needs, with one deadline for all operations.

    A socket's own timeout starts again with each piece, which may be a single byte.
    """

    def __init__(self, plain: socket.socket, end_s: float) -> None:
        self._plain = plain
        self._end_s = end_s

    def sendall(self, data: bytes) -> None:
        self.timed().sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Pieces(self))

    def close(self) -> None:
        """Do nothing: an answer may still be read."""

    def timed(self) -> socket.socket:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0.0:
            raise TimeoutError
        self._plain.settimeout(left_s)
        return self._plain


class _Pieces(io.RawIOBase):
    def __init__(self, source: _Timed) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.timed().recv_into(buffer)


def _request(address: Address, verb: str, path: str, timeout_s: float) -> bytes:
    """Return the body of an answer.

    Raises:
        OSError: There was none in time.
        http.client.HTTPException: It was no HTTP, or no success.
    """
    end_s = time.monotonic() + timeout_s
    with socket.create_connection((address.host, address.port), timeout_s) as plain:
        connection = http.client.HTTPConnection(address.host, address.port)
        connection.sock = cast(socket.socket, _Timed(plain, end_s))
        connection.request(verb, path, body=b"" if verb == "POST" else None)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
        return response.read(MAX_BODY_BYTES)


def _served(data: Any) -> dict[MediaKind, Work]:
    if not isinstance(data, Mapping):
        return {}
    found: dict[MediaKind, Work] = {}
    for kind in MediaKind:
        item = data.get(kind.value)
        if isinstance(item, Mapping):
            found[kind] = Work(
                _whole(item.get("messages")),
                _number(item.get("seconds")) or 0.0,
                _number(item.get("squares")) or 0.0,
            )
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LARGEST else None


def _whole(value: Any) -> int:
    return int(_number(value) or 0)


def _time_s(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    return _number(value)
