"""Talks to the control servers of workers, several at a time, never for long."""

import http.client
import json
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any, Final

from detection_contract.environment import DRAIN_PATH, RESUME_PATH, STATE_PATH
from detection_contract.media_types import MediaKind
from detection_operator.observe.ports import Address
from detection_operator.observe.values import Work, WorkerState

TIMEOUT_S: Final = 2.0
"""A worker in the same cluster answers in milliseconds; a loaded one in tenths of a second."""
ALL_TIMEOUT_S: Final = 5.0
MAX_BODY_BYTES: Final = 256 * 1024
log = logging.getLogger(__name__)


class HttpWorkers:
    """Implements ``Workers``.

    Args:
        threads: Requests at a time.
    """

    def __init__(self, threads: int = 16) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="workers")

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def states(self, addresses: Sequence[Address]) -> dict[str, WorkerState]:
        """Return the states of those that answered in time, by uid."""
        if not addresses:
            return {}
        asked = {self._pool.submit(_ask, a, "GET", STATE_PATH): a for a in addresses}
        done, late = wait(asked, timeout=ALL_TIMEOUT_S)
        for future in late:
            future.cancel()
        answers = ((asked[future].uid, future.result()) for future in done)
        return {uid: state for uid, state in answers if state is not None}

    def drain(self, address: Address) -> WorkerState | None:
        """Ask a worker to drain; return its state afterwards, None when it did not answer."""
        return _ask(address, "POST", DRAIN_PATH)

    def resume(self, address: Address) -> WorkerState | None:
        """Ask a worker to receive again; return as ``drain`` does."""
        return _ask(address, "POST", RESUME_PATH)


def parse_state(data: Any) -> WorkerState | None:
    """Return the state that a decoded answer says, or None when it is no state.

    Pods are not trusted to send what they should: numbers are checked, the rest is ignored.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("busy"), bool):
        return None
    statistics = data.get("statistics")
    attempts = statistics.get("failed") if isinstance(statistics, Mapping) else 0
    received = _whole(data.get("received"))
    return WorkerState(
        busy=data["busy"],
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


def _ask(address: Address, verb: str, path: str) -> WorkerState | None:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
    try:
        connection.request(verb, path, body=b"" if verb == "POST" else None)
        response = connection.getresponse()
        body = response.read(MAX_BODY_BYTES)
        if response.status != http.client.OK:
            return None
        return parse_state(json.loads(body))
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = type(exc).__name__
        log.debug("worker did not answer", extra={"host": address.host, "reason": reason})
        return None
    finally:
        connection.close()


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
    return float(value) if math.isfinite(value) and value >= 0 else None


def _whole(value: Any) -> int:
    return int(_number(value) or 0)


def _time_s(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return None
    return _number(value)
