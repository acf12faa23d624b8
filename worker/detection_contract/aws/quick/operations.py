"""Calls of one operation of a client, sent as botocore's own first one was."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError, create_parser
from urllib3.exceptions import HTTPError

from detection_contract.aws.quick.answers import Answer
from detection_contract.aws.quick.exchange import Connections
from detection_contract.aws.quick.signing import ALGORITHM, keys_of, sign

CALL_ERRORS: Final = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError)
"""Exceptions that a call of AWS can raise; any other is a bug."""
_OF_ONE_REQUEST: Final = frozenset(
    {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-length",
        "host",
        "x-amz-date",
        "x-amz-security-token",
        "x-amzn-trace-id",
    }
)
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Ten messages of a mebibyte, as JSON may escape them; a longer answer is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How an operation is called.

    Attributes:
        url: The service's.
        headers: Those that all its requests have, by names in lower case.
        region: That requests are signed for.
        service: Its name in signatures.
    """

    url: str
    headers: Mapping[str, str]
    region: str
    service: str


class QuickOperation:
    """Posts to a service that the client has called before. Thread-safe.

    Retries, errors and redirects are botocore's: it is asked again for what has no plain answer.

    Args:
        session: With the credentials of ``client``.
        client: A boto3 client of a service with the JSON or the query protocol; its connections
            are used.
        operation: Name of the operation, such as ``PutEvents``.
    """

    def __init__(self, session: boto3.Session, client: Any, operation: str) -> None:
        self._credentials = session.get_credentials
        self._connections = Connections(client)
        model = client.meta.service_model
        self._parser = create_parser(model.metadata["protocol"])
        self._shape = model.operation_model(operation).output_shape
        self._way: _Way | None = None
        service = model.service_id.hyphenize()
        client.meta.events.register(f"before-send.{service}.{operation}", self._learn)

    def post(self, body: bytes) -> Mapping[str, Any] | None:
        """Send a request; return the answer as botocore would.

        Args:
            body: In the encoding of the protocol.

        Returns:
            None if botocore has to be asked. Whether the service did what was asked is not known
            then, as it is not when botocore itself tries again.

        Raises:
            ResponseParserError: The service did it, and its answer cannot be read.
        """
        way = self._way
        if way is None:
            return None
        try:
            answer = self._send(way, body)
            if answer is None or answer.status_code != HTTPStatus.OK:
                if answer is not None:
                    answer.close()
                return None
            with answer:
                content = answer.read(MAX_ANSWER_BYTES)
        except CALL_ERRORS:
            return None
        parsed: Mapping[str, Any] = self._parser.parse(
            {"status_code": HTTPStatus.OK, "headers": answer.headers, "body": content},
            self._shape,
        )
        return parsed

    def _send(self, way: _Way, body: bytes) -> Answer | None:
        credentials = self._credentials()
        if credentials is None:
            return None
        signed = sign(
            way.url,
            way.headers,
            keys=keys_of(credentials),
            region=way.region,
            now=datetime.now(tz=UTC),
            service=way.service,
            method="POST",
            body=body,
        )
        return self._connections.send("POST", way.url, signed, body)

    def _learn(self, request: Any, **_: Any) -> None:
        """Note how botocore calls the operation."""
        if self._way is None:
            self._way = _way_of(request)


def _way_of(request: Any) -> _Way | None:
    """Return how a signed request is made; None if it is not a usual one."""
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    kind, _, rest = headers.get("authorization", "").partition(" Credential=")
    # KEY/DAY/REGION/SERVICE/aws4_request, ...
    scope = rest.partition(",")[0].split("/")[-4:]
    if request.method != "POST" or kind != ALGORITHM or len(scope) != 4 or "?" in request.url:
        return None
    return _Way(
        url=request.url,
        headers={name: text for name, text in headers.items() if name not in _OF_ONE_REQUEST},
        region=scope[1],
        service=scope[2],
    )


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
