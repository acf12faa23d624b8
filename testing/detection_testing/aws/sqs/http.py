"""Amazon SQS over HTTP: the AWS JSON 1.0 protocol, as boto3 speaks it."""

import json
import uuid
from collections.abc import Awaitable
from typing import Any

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.sqs.actions.messages import MessageActions
from detection_testing.aws.sqs.actions.moves import MoveActions
from detection_testing.aws.sqs.actions.queues import QueueActions
from detection_testing.aws.sqs.delivery import QueueDelivery
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.registry import QueueRegistry
from detection_testing.http.values import Request, Response

TARGET_PREFIX = "AmazonSQS."
_JSON = "application/x-amz-json-1.0"


class SqsHttp:
    """Answers SQS requests for the queues of one account.

    Args:
        registry: The queues.
        clock: The server's.
        orphan_on_disconnect: A receive whose client has gone away still takes the messages, as on
            SQS; False leaves them in the queue.

    Attributes:
        delivery: Sends messages for other services.
    """

    def __init__(
        self, *, registry: QueueRegistry, clock: ServerClock, orphan_on_disconnect: bool = True
    ) -> None:
        messages = MessageActions(
            registry=registry, clock=clock, orphan_on_disconnect=orphan_on_disconnect
        )
        queues = QueueActions(registry=registry, clock=clock, touch=messages.touch)
        self.delivery = QueueDelivery(registry=registry, clock=clock, touch=messages.touch)
        self._moves = MoveActions(registry=registry, clock=clock, touch=messages.touch)
        self._actions = {**messages.actions(), **queues.actions(), **self._moves.actions()}

    def handle(self, operation: str, request: Request) -> Response | Awaitable[Response]:
        """Carry out one request; only a receive that waits returns an awaitable."""
        action = self._actions.get(operation)
        if action is None:
            text = f"The action {operation} is not valid for this endpoint."
            return render_error(SqsError("InvalidAction", text))
        self._moves.advance()
        try:
            answer = action(_parameters(request), request)
        except SqsError as exc:
            return render_error(exc)
        return _render(answer) if isinstance(answer, dict) else _later(answer)


def render_error(error: SqsError) -> Response:
    """Return an error as SQS sends it; botocore reads the type and the query code."""
    wire = error.wire
    fault = "Sender" if wire.status < 500 else "Receiver"
    body = json.dumps({"__type": wire.type, "message": error.message}).encode()
    headers = _headers() | {"x-amzn-query-error": f"{wire.query_code};{fault}"}
    return Response(status=wire.status, headers=headers, body=body)


def _parameters(request: Request) -> dict[str, Any]:
    try:
        parameters = json.loads(request.body or b"{}")
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise SqsError("SerializationException", "The request body is not a JSON object.")
    return parameters


def _render(answer: dict[str, Any]) -> Response:
    body = json.dumps(answer, ensure_ascii=False).encode()
    return Response(headers=_headers(), body=body)


async def _later(answer: Awaitable[dict[str, Any]]) -> Response:
    try:
        return _render(await answer)
    except SqsError as exc:
        return render_error(exc)


def _headers() -> dict[str, str]:
    return {"Content-Type": _JSON, "x-amzn-RequestId": str(uuid.uuid4())}
