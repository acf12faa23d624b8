"""Receipt handles of one queue."""

import base64
import binascii
import uuid
from itertools import count

from detection_testing.aws.sqs.errors import SqsError


class Handles:
    """Makes receipt handles, each different, and knows its own."""

    def __init__(self) -> None:
        self._tag = uuid.uuid4().hex[:12]
        self._numbers = count(1)

    def make(self, message_id: str) -> str:
        """Return a handle for a delivery of a message."""
        plain = f"{self._tag} {message_id} {next(self._numbers)}"
        return base64.b64encode(plain.encode()).decode()

    def message_id(self, handle: str) -> str:
        """Return the id of the message that a handle is of.

        Raises:
            SqsError: ``ReceiptHandleIsInvalid`` for what is no handle of this queue.
        """
        try:
            tag, message_id, _ = base64.b64decode(handle, validate=True).decode().split(" ")
        except (binascii.Error, UnicodeError, ValueError):
            tag = message_id = ""
        if tag != self._tag:
            text = f'The input receipt handle "{handle}" is not a valid receipt handle.'
            raise SqsError("ReceiptHandleIsInvalid", text)
        return message_id
