"""Moto with policies enforced: how to ask its server for it, and policies as it reads them."""

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

_BATCHES: Final = {
    "sqs:SendMessage": "sqs:SendMessageBatch",
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
    "sns:Publish": "sns:PublishBatch",
}
"""IAM authorises a batch by the action for one message; moto by the name of the call."""
_WITHOUT_RESOURCE: Final = ("sns:", "events:", "kms:")
"""Services whose resources moto does not look at: it allows only what is allowed on all."""


@contextmanager
def enforced(endpoint_url: str) -> Iterator[None]:
    """Let moto's server check signatures and policies of every request.

    Args:
        endpoint_url: Where the server listens.
    """
    _check_after(endpoint_url, "0")
    try:
        yield
    finally:
        _check_after(endpoint_url, "inf")


def _check_after(endpoint_url: str, calls: str) -> None:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{endpoint_url}/moto-api/reset-auth",
        data=calls.encode(),
        headers={"Content-Type": "text/plain"},
    )
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - loopback


def as_moto_reads_it(statement: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement of a policy that means to moto what the given one means to IAM."""
    named = statement["Action"]
    actions = [named] if isinstance(named, str) else list(named)
    everywhere = actions[0].startswith(_WITHOUT_RESOURCE)
    return {
        **statement,
        "Action": [*actions, *(_BATCHES[each] for each in actions if each in _BATCHES)],
        "Resource": "*" if everywhere else statement["Resource"],
    }
