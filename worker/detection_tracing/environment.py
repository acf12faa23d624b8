"""Whether traces are asked for: OpenTelemetry's own variables, read without its SDK."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

Protocol = Literal["grpc", "http/protobuf"]

DISABLED: Final = "OTEL_SDK_DISABLED"
EXPORTER: Final = "OTEL_TRACES_EXPORTER"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
GRPC_PORT: Final = 4317
"""Collectors take gRPC at this port, and HTTP at 4318."""


class TracingError(ValueError):
    """Traces are asked for in a way that cannot be; the second line says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Traces are to be exported with OTLP.

    Attributes:
        by: The variable that asks for them, with its value.
        protocol: As collectors take it at the endpoint.
    """

    by: str
    protocol: Protocol


def asked(environ: Mapping[str, str]) -> Asked | None:
    """Return how traces are to be exported; None if they are not.

    ``OTEL_TRACES_EXPORTER=otlp`` or an endpoint asks for them; ``OTEL_TRACES_EXPORTER=none`` and
    ``OTEL_SDK_DISABLED=true`` win over both. Everything else (endpoint, headers, certificates,
    sampler, resource, queue) is read by the SDK.

    Raises:
        TracingError: Exporter, protocol or endpoint is not one that there is.
    """
    if environ.get(DISABLED, "").strip().lower() == "true":
        return None
    exporter = environ.get(EXPORTER, "").strip().lower()
    endpoint_name = next((name for name in ENDPOINTS if environ.get(name)), None)
    if exporter == "none" or (not exporter and endpoint_name is None):
        return None
    if exporter not in {"", "otlp"}:
        raise TracingError(
            f"{EXPORTER}={exporter} is not supported\nUse otlp (any collector takes it), or none."
        )
    endpoint = environ[endpoint_name].strip() if endpoint_name else ""
    protocol = _protocol(environ, endpoint)
    if endpoint and protocol == "http/protobuf" and not _is_url(endpoint):
        raise TracingError(
            f"{endpoint_name}={endpoint} is no URL\nIt looks like http://collector:4318."
        )
    return Asked(by=f"{EXPORTER}=otlp" if exporter else str(endpoint_name), protocol=protocol)


def _protocol(environ: Mapping[str, str], endpoint: str) -> Protocol:
    name = next((name for name in PROTOCOLS if environ.get(name)), None)
    value = environ[name].strip().lower() if name else ""
    if value == "grpc" or (not value and _port(endpoint) == GRPC_PORT):
        return "grpc"
    if value in {"", "http/protobuf"}:
        return "http/protobuf"
    raise TracingError(f"{name}={value} is not supported\nUse http/protobuf or grpc.")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port beyond 65535
        return False


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").port
    except ValueError:
        return None
