"""Requests to a running local AWS: by boto3, and without it where that is faster."""

import http.client
import json
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

from detection_testing.aws.sqs.registry import REGION
from detection_testing.aws.sts.credentials import LOCAL

_CALL_S = 60.0
# A known key lets a request in; the signature itself is not verified.
_AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={LOCAL.access_key_id}/local"


class LocalCaller:
    """Calls the services on one port of this machine. Thread-safe.

    Args:
        port: TCP port.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def client(self, service: str) -> Any:
        """Return a boto3 client that never retries; the same one each time."""
        if service not in self._clients:
            if self._session is None:
                self._session = boto3.Session(
                    aws_access_key_id=LOCAL.access_key_id,
                    aws_secret_access_key=LOCAL.secret_access_key,
                    region_name=REGION,
                )
            config = Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                s3={"addressing_style": "path"},
                max_pool_connections=32,
            )
            self._clients[service] = self._session.client(
                service, endpoint_url=f"http://127.0.0.1:{self.port}", config=config
            )
        return self._clients[service]

    def sqs(self, action: str, **parameters: Any) -> Any:
        """Carry out an action of SQS; return its answer."""
        headers = {
            "X-Amz-Target": f"AmazonSQS.{action}",
            "Content-Type": "application/x-amz-json-1.0",
        }
        body = json.dumps(parameters).encode()
        return json.loads(self.request("POST", "/", body=body, headers=headers))

    def control(self, method: str, path: str, document: Any = None) -> Any:
        """Make a request to the control interface; return its answer."""
        body = b"" if document is None else json.dumps(document).encode()
        return json.loads(self.request(method, f"/_local/{path}", body=body))

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Make a request; return the body of its answer.

        Raises:
            RuntimeError: The answer is no success.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CALL_S)
        try:
            sent = {"Authorization": _AUTHORIZATION, **(headers or {})}
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            text = answer.decode("utf-8", "replace")
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return answer
