"""Results posted over HTTP, with retries and signatures."""

import random
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from ipaddress import ip_network
from typing import Final
from urllib.parse import quote

import urllib3
from requests.exceptions import InvalidURL, RequestException
from urllib3.exceptions import HTTPError, LocationParseError, LocationValueError
from urllib3.util import Url, parse_url

from detection_contract import signing
from detection_contract.aws.quick.answers import Answer
from detection_contract.error_codes import ErrorCode
from detection_tracing.port import Span
from detection_worker.callback.connections import (
    EndlessAnswer,
    ForbiddenAddress,
    Guard,
    Receivers,
    Resolve,
    resolve,
)
from detection_worker.callback.traces import attempt_span, note_status
from detection_worker.errors import Cancelled, JobError
from detection_worker.settings import CallbackSettings

MAX_ANSWER_BYTES: Final = 64 * 1024
"""The connection of a longer answer is closed, not kept for the next callback."""
CONNECTIONS: Final = 32
LEAST_S: Final = 1.0
"""Another attempt gets this much time or the read timeout, or is not made: a receiver that is cut
off sooner may have taken the result, and would get it again."""
_POLL_S: Final = 0.05
_MAX_HEADER_CHARS: Final = 256
_VISIBLE: Final = "".join(map(chr, range(0x20, 0x7F)))
_PASSING: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_EXPLAINED: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((EndlessAnswer,), "its answer has no end"),
    ((socket.gaierror,), "its host name cannot be resolved"),
    ((ssl.SSLCertVerificationError,), "its certificate is not valid"),
    ((ssl.SSLError, urllib3.exceptions.SSLError), "TLS failed"),
    ((TimeoutError, urllib3.exceptions.TimeoutError), "it did not answer in time"),
    ((ConnectionRefusedError,), "it refused the connection"),
)
"""Reasons by exception; the first that is among the causes counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why an attempt failed; another one may succeed."""

    reason: str
    retry_after_s: float | None = None


class HttpCallbackClient:
    """Posts results with Standard Webhooks headers; thread-safe."""

    def __init__(
        self,
        settings: CallbackSettings,
        *,
        connections: int = CONNECTIONS,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random01: Callable[[], float] = random.random,
    ) -> None:
        """Connect to nothing yet.

        Args:
            settings: Timeouts, retries, signing secrets, allowed networks.
            connections: Kept for each host; as many as threads may post at once.
            tls: Trusted authorities; None means the system's and certifi's.
            resolve: Resolver from host and port to addresses.
            clock: Returns monotonic seconds.
            wall_clock: Returns Unix seconds.
            sleep: Sleeps for a number of seconds.
            random01: Returns a uniform random number in [0, 1).

        Raises:
            ValueError: A signing secret or an allowed network is not valid.
        """
        for secret in settings.signing_secrets:
            signing.decode_secret(secret)
        self._settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._random01 = random01
        self._agent = f"detection-queue/{version('detection-queue')}"
        allowed = tuple(ip_network(n) for n in settings.allowed_networks)
        guard = Guard(allow_any=settings.allow_private, allowed=allowed, resolve=resolve)
        self._receivers = Receivers(guard, connections=connections, tls=tls)

    def close(self) -> None:
        """Close all idle connections."""
        self._receivers.close()

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
        """Post ``body`` until a 2xx answer; see ``CallbackClient.post``.

        Raises:
            JobError: As for ``CallbackClient.post``, and ``BAD_CALLBACK_URL`` for a URL that is
                not http or https or contains credentials.
            Cancelled: ``cancelled`` returned True.
        """
        origin = origin_of(url)
        until_s = self._clock() + self._settings.max_elapsed_s
        attempt = 0
        while True:
            attempt += 1
            if cancelled():
                raise Cancelled("the callback was cancelled")
            on_progress()
            headers = self._headers(body, webhook_id=webhook_id, request_id=request_id)
            left_s = max(_POLL_S, until_s - self._clock())
            with attempt_span(trace, origin, attempt) as span:
                if span is not None:
                    headers |= span.carrier
                failure = self._attempt(
                    url, body, headers=headers, origin=origin, left_s=left_s, span=span
                )
            if failure is None:
                return
            pause_s = max(failure.retry_after_s or 0.0, self._backoff_s(attempt))
            enough_s = pause_s + min(LEAST_S, self._settings.read_timeout_s)
            if attempt >= self._settings.attempts or self._clock() + enough_s > until_s:
                raise JobError(
                    ErrorCode.CALLBACK_UNREACHABLE,
                    f"The callback to {origin} failed after {attempt} attempt(s): "
                    f"{failure.reason}",
                    retry_after_s=failure.retry_after_s,
                )
            self._wait(pause_s, cancelled)

    def _attempt(
        self,
        url: str,
        body: bytes,
        *,
        headers: dict[str, str],
        origin: str,
        left_s: float,
        span: Span | None,
    ) -> _Failure | None:
        connect_s = min(self._settings.connect_timeout_s, left_s)
        read_s = min(self._settings.read_timeout_s, left_s)
        try:
            answer = self._receivers.post(
                url, body, headers=headers, connect_s=connect_s, read_s=read_s
            )
        except InvalidURL as exc:
            raise _bad_url("it is no URL") from exc
        except ForbiddenAddress as exc:
            raise JobError(
                ErrorCode.CALLBACK_FORBIDDEN,
                f"The callback to {origin} is forbidden: its address is {exc}",
            ) from exc
        except (RequestException, HTTPError, OSError) as exc:
            if span is not None:
                span.fail(type(exc).__name__)
            return _Failure(reason=_explain(exc))
        if span is not None:
            note_status(span, answer.status_code)
        _drain(answer)
        return self._judge(answer, origin)

    def _judge(self, answer: Answer, origin: str) -> _Failure | None:
        status = answer.status_code
        if 200 <= status < 300:
            return None
        if status in _PASSING or status >= 500:
            asked = answer.headers.get("retry-after", "")
            wait_s = parse_retry_after(asked, now_s=self._wall_clock())
            return _Failure(reason=f"it answered {status}", retry_after_s=wait_s)
        redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        raise JobError(
            ErrorCode.CALLBACK_REJECTED, f"The callback to {origin} answered {status}{redirect}"
        )

    def _headers(self, body: bytes, *, webhook_id: str, request_id: str) -> dict[str, str]:
        signed = signing.headers(
            self._settings.signing_secrets,
            webhook_id=webhook_id,
            timestamp_s=int(self._wall_clock()),
            body=body,
        )
        return {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            # Untrusted: it must not end the header.
            "X-Request-Id": quote(request_id, safe=_VISIBLE)[:_MAX_HEADER_CHARS],
            **signed,
        }

    def _backoff_s(self, attempt: int) -> float:
        cap_s = self._settings.retry_base_s * 2.0 ** (attempt - 1)
        return self._random01() * min(cap_s, self._settings.max_elapsed_s)

    def _wait(self, pause_s: float, cancelled: Callable[[], bool]) -> None:
        until_s = self._clock() + pause_s
        while (left_s := until_s - self._clock()) > 0:
            if cancelled():
                raise Cancelled("the callback was cancelled")
            self._sleep(min(left_s, _POLL_S))


def parse_retry_after(value: str, *, now_s: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for; None if it is not valid.

    Args:
        value: Seconds or an HTTP date (RFC 9110, 10.2.3).
        now_s: Current time in Unix seconds.
    """
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def origin_of(url: str) -> str:
    """Return scheme, host and port of a callback URL; path and query may contain secrets.

    Raises:
        JobError: ``BAD_CALLBACK_URL``: it is not http or https, or contains credentials.
    """
    parsed = _parse(url)
    return f"{parsed.scheme}://{parsed.netloc}"


def _parse(url: str) -> Url:
    try:
        parsed = parse_url(url)
    except (LocationParseError, LocationValueError) as exc:
        raise _bad_url("it is no URL") from exc
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _bad_url("only http and https URLs can be called")
    if parsed.auth is not None:
        raise _bad_url("it holds credentials")
    return parsed


def _bad_url(reason: str) -> JobError:
    return JobError(ErrorCode.BAD_CALLBACK_URL, f"The callback URL cannot be used: {reason}")


def _drain(answer: Answer) -> None:
    """Read a short answer to its end, to reuse its connection; close that of a long one."""
    received_bytes = 0
    try:
        while chunk := answer.read1(MAX_ANSWER_BYTES):
            received_bytes += len(chunk)
            if received_bytes >= MAX_ANSWER_BYTES:
                break
    except (HTTPError, OSError):
        pass  # the status is known, so a broken body does not matter
    answer.close()


def _explain(exc: Exception) -> str:
    """Return why a connection failed, without the URL that the exception's text contains."""
    causes = _causes(exc)
    for kinds, sentence in _EXPLAINED:
        if any(isinstance(cause, kinds) for cause in causes):
            return sentence
    return "the connection broke off"


def _causes(exc: BaseException) -> list[BaseException]:
    """Return an exception and all that it wraps as cause, context or argument."""
    found: list[BaseException] = []
    waiting: list[object] = [exc]
    while waiting:
        current = waiting.pop()
        if isinstance(current, BaseException) and current not in found:
            found.append(current)
            waiting += [current.__cause__, current.__context__, *current.args]
    return found
