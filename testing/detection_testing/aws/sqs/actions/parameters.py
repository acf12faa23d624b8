"""Reading the parameters of an SQS request."""

from typing import Any

from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.registry import ACCOUNT_ID, QueueRegistry, RegisteredQueue

Parameters = dict[str, Any]
Answer = dict[str, Any]


def text_of(parameters: Parameters, name: str) -> str:
    """Return a required text parameter.

    Raises:
        SqsError: ``MissingParameter``.
    """
    value = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise SqsError("MissingParameter", f"The request must contain the parameter {name}.")
    return value


def integer_of(parameters: Parameters, name: str) -> int | None:
    """Return an optional whole number.

    Raises:
        SqsError: ``SerializationException`` for another type.
    """
    value = parameters.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise SqsError("SerializationException", f"{name} is no whole number.")


def queue_of(parameters: Parameters, registry: QueueRegistry) -> RegisteredQueue:
    """Return the queue that ``QueueUrl`` names by its last two path segments.

    Raises:
        SqsError: ``MissingParameter``, ``InvalidAddress`` or ``QueueDoesNotExist``.
    """
    url = text_of(parameters, "QueueUrl")
    _, account, name = ("//" + url).rsplit("/", 2)
    if not name or not account:
        raise SqsError("InvalidAddress", f"The address {url} is not valid for this endpoint.")
    if account != ACCOUNT_ID:
        raise SqsError("QueueDoesNotExist", "The specified queue does not exist.")
    return registry.get(name)
