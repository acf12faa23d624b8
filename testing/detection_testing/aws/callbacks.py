"""A callback receiver that records each POST; the path selects its behaviour.

``/ok`` answers 200; ``/status/CODE`` that status; ``/slow/SECONDS`` 200, late; ``/redirect`` 302
to ``/ok``; ``/refuse`` resets the connection; ``/drip`` sends a byte of its answer each second;
``/flaky/N`` answers 503 to the first N attempts, then 200; ``/retry-after/SECONDS`` 503 with that
header to the first attempt, then 200; ``/huge/BYTES`` 200 with a body of that size.

Attempts are counted for each path and webhook-id, so that each delivery meets its own failures.
The rest of the path is free, to distinguish receivers.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.journal import RecordedCallback
from detection_testing.http.values import Delivery, Request, Response

PREFIX = "/_callback"
_HUGE_BYTES = 64 * 1024 * 1024
_DRIP_BYTES = 3600


class CallbackHttp:
    """Answers callbacks.

    Args:
        clock: The server's.
    """

    def __init__(self, *, clock: ServerClock) -> None:
        self._clock = clock
        self._attempts: Counter[tuple[str, str]] = Counter()
        self.recorded: list[RecordedCallback] = []

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Record one request and answer as its path says."""
        path = request.path.removeprefix(PREFIX)
        name, _, rest = path.strip("/").partition("/")
        behaviour = _BEHAVIOURS.get(name)
        attempt_key = (path, request.headers.get("webhook-id", ""))
        self._attempts[attempt_key] += 1
        if behaviour is None:
            response = Response(status=404, body=b"no such behaviour\n")
        elif request.method != "POST":
            response = Response(status=405, headers={"Allow": "POST"})
        else:
            argument = rest.partition("/")[0]
            response = behaviour(argument, self._attempts[attempt_key])
        status = 0 if response.delivery.reset else response.status
        self.recorded.append(
            RecordedCallback(self._clock.now_s(), path, request.headers, request.body, status)
        )
        seconds = _number(rest.partition("/")[0], default=0.0) if name == "slow" else 0.0
        return _after(seconds, response) if seconds else response


async def _after(seconds: float, response: Response) -> Response:
    await asyncio.sleep(seconds)
    return response


def _ok(argument: str, attempt: int) -> Response:
    del argument, attempt
    return Response(body=b"ok\n")


def _status(argument: str, attempt: int) -> Response:
    del attempt
    return Response(status=int(_number(argument, default=500)))


def _redirect(argument: str, attempt: int) -> Response:
    del argument, attempt
    return Response(status=302, headers={"Location": f"{PREFIX}/ok"})


def _refuse(argument: str, attempt: int) -> Response:
    del argument, attempt
    return Response(delivery=Delivery(reset=True))


def _drip(argument: str, attempt: int) -> Response:
    del attempt
    pause_s = _number(argument, default=1.0)
    return Response(
        body=b"." * _DRIP_BYTES, delivery=Delivery(piece_bytes=1, piece_pause_s=pause_s)
    )


def _flaky(argument: str, attempt: int) -> Response:
    return Response(status=503 if attempt <= _number(argument, default=1) else 200)


def _retry_after(argument: str, attempt: int) -> Response:
    if attempt > 1:
        return Response()
    return Response(status=503, headers={"Retry-After": argument or "1"})


def _huge(argument: str, attempt: int) -> Response:
    del attempt
    return Response(body=b"x" * int(_number(argument, default=_HUGE_BYTES)))


_BEHAVIOURS: dict[str, Callable[[str, int], Response]] = {
    "ok": _ok,
    "slow": _ok,
    "status": _status,
    "redirect": _redirect,
    "refuse": _refuse,
    "drip": _drip,
    "flaky": _flaky,
    "retry-after": _retry_after,
    "huge": _huge,
}


def _number(text: str, *, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default
