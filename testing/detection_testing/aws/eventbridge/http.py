"""Amazon EventBridge over HTTP: the AWS JSON 1.1 protocol, as far as events get to queues."""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.eventbridge.buses import DEFAULT_BUS, EventBuses, EventsError
from detection_testing.http.values import Request, Response, Spoiled

TARGET_PREFIX: Final = "AWSEvents."
MAX_ENTRIES: Final = 10
MAX_BYTES: Final = 262_144
"""EventBridge API reference, PutEvents: ten entries, 256 KiB in all."""
_TIME_BYTES: Final = 14
_JSON: Final = "application/x-amz-json-1.1"
_REQUIRED: Final = ("Source", "DetailType", "Detail")

Parameters = dict[str, Any]


class EventsHttp:
    """Answers EventBridge requests.

    Args:
        buses: The buses.
        clock: The server's.
    """

    def __init__(self, *, buses: EventBuses, clock: ServerClock) -> None:
        self._buses = buses
        self._clock = clock
        self._actions: dict[str, Callable[[Parameters, Request], Parameters]] = {
            "PutEvents": self._put_events,
            "CreateEventBus": self._create,
            "DeleteEventBus": self._delete,
            "DescribeEventBus": self._describe,
            "ListEventBuses": self._list,
            "PutRule": self._put_rule,
            "PutTargets": self._put_targets,
        }

    def handle(self, operation: str, request: Request) -> Response:
        """Carry out one request."""
        try:
            action = self._actions.get(operation, _unknown)
            return _render(action(_parameters(request), request))
        except EventsError as exc:
            return render_error(exc)

    def _put_events(self, parameters: Parameters, request: Request) -> Parameters:
        entries = parameters.get("Entries") or []
        _check_entries(entries)
        answers = [self._put(at, entry, request.spoiled) for at, entry in enumerate(entries)]
        failed = sum("ErrorCode" in answer for answer in answers)
        return {"FailedEntryCount": failed, "Entries": answers}

    def _put(self, at: int, entry: Parameters, spoiled: Spoiled | None) -> Parameters:
        if spoiled is not None and at < spoiled.entries:
            return {"ErrorCode": spoiled.code or "InternalFailure", "ErrorMessage": "Injected"}
        wrong = _wrong(entry)
        if wrong is not None:
            return {"ErrorCode": wrong[0], "ErrorMessage": wrong[1]}
        return {"EventId": self._buses.put(entry, now_s=self._clock.now_s())}

    def _create(self, parameters: Parameters, request: Request) -> Parameters:
        del request
        return {"EventBusArn": self._buses.create(_text(parameters, "Name")).arn}

    def _delete(self, parameters: Parameters, request: Request) -> Parameters:
        del request
        self._buses.delete(_text(parameters, "Name"))
        return {}

    def _describe(self, parameters: Parameters, request: Request) -> Parameters:
        del request
        bus = self._buses.get(parameters.get("Name") or DEFAULT_BUS)
        return {"Name": bus.name, "Arn": bus.arn}

    def _list(self, parameters: Parameters, request: Request) -> Parameters:
        del parameters, request
        buses = [self._buses.get(name) for name in self._buses.names()]
        return {"EventBuses": [{"Name": bus.name, "Arn": bus.arn} for bus in buses]}

    def _put_rule(self, parameters: Parameters, request: Request) -> Parameters:
        del request
        bus = parameters.get("EventBusName") or DEFAULT_BUS
        pattern = _text(parameters, "EventPattern")
        return {"RuleArn": self._buses.put_rule(bus, _text(parameters, "Name"), pattern)}

    def _put_targets(self, parameters: Parameters, request: Request) -> Parameters:
        del request
        bus = parameters.get("EventBusName") or DEFAULT_BUS
        for target in parameters.get("Targets") or []:
            self._buses.put_target(bus, _text(parameters, "Rule"), target)
        return {"FailedEntryCount": 0, "FailedEntries": []}


def render_error(error: EventsError) -> Response:
    """Return an error as EventBridge sends it."""
    body = json.dumps({"__type": error.code, "message": str(error)}).encode()
    return Response(status=error.status, headers=_headers(), body=body)


def _unknown(parameters: Parameters, request: Request) -> Parameters:
    text = f"{request.headers['x-amz-target']} is not implemented here"
    raise EventsError("UnknownOperationException", text)


def _check_entries(entries: list[Parameters]) -> None:
    if not 1 <= len(entries) <= MAX_ENTRIES:
        text = "1 validation error detected: Value at 'entries' failed to satisfy constraint: "
        text += "Member must have length between 1 and 10"
        raise EventsError("ValidationException", text)
    if sum(_size(entry) for entry in entries) > MAX_BYTES:
        text = "Total size of the entries in the request is over the limit."
        raise EventsError("ValidationException", text)


def _size(entry: Parameters) -> int:
    # EventBridge user guide, "Calculating PutEvents event entry size".
    texts = [str(entry.get(name) or "") for name in _REQUIRED] + (entry.get("Resources") or [])
    return _TIME_BYTES * ("Time" in entry) + sum(len(str(text).encode()) for text in texts)


def _wrong(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    for name in _REQUIRED:
        if not entry.get(name):
            text = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return "InvalidArgument", text
    if str(entry["Source"]).startswith("aws."):
        return "NotAuthorizedForSourceException", "Not authorized for the source."
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        detail = None
    return None if isinstance(detail, dict) else ("MalformedDetail", "Detail is malformed.")


def _parameters(request: Request) -> Parameters:
    try:
        parameters = json.loads(request.body or b"{}")
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise EventsError("SerializationException", "The request body is not a JSON object.")
    return parameters


def _text(parameters: Parameters, name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise EventsError("ValidationException", f"Parameter {name} is required.")
    return value


def _render(answer: Parameters) -> Response:
    return Response(headers=_headers(), body=json.dumps(answer).encode())


def _headers() -> dict[str, str]:
    return {"Content-Type": _JSON, "x-amzn-RequestId": str(uuid.uuid4())}
