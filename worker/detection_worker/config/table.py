"""Every setting with its external names: option, environment variables, key in the file.

The rows follow from the fields of ``settings``; only names that the rules below do not make, such
as those of the original guide, are written down here.
"""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal

from annotated_types import DocInfo, Interval, Predicate

from detection_contract.callback_urls import is_callback_url
from detection_worker.settings import (
    AnalysisSettings,
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    LoggingSettings,
    MediaLimits,
    ProvenanceSettings,
    ResultSettings,
    Settings,
    is_http_url,
)

Group = Literal[
    "aws",
    "data",
    "logging",
    "limits",
    "analysis",
    "provenance",
    "callback",
    "results",
    "consumer",
    "worker",
]

_URLS: Final = (is_http_url, is_callback_url)

GROUPS: Final[dict[Group, type]] = {
    "aws": AwsSettings,
    "data": DataSettings,
    "logging": LoggingSettings,
    "limits": MediaLimits,
    "analysis": AnalysisSettings,
    "provenance": ProvenanceSettings,
    "callback": CallbackSettings,
    "results": ResultSettings,
    "consumer": ConsumerSettings,
    "worker": Settings,
}

CREDENTIALS: Final = ("access_key_id", "secret_access_key", "session_token")
"""Fields of ``aws`` that belong together: they are taken from one place, never mixed."""

FILE_KEYS: Final[dict[Group, tuple[str, ...]]] = {
    "aws": (*CREDENTIALS, "region"),
    "data": ("temp_dir", "s3_cache_dir", "cleanup_temp_files"),
    "logging": ("level", "log_to_console"),
}
"""Sections and keys of the config file."""

_ENVIRONMENT: Final[dict[str, tuple[str, ...]]] = {
    "aws.boto3_endpoint_url": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "aws.region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "logging.level": ("LOG_LEVEL",),
    "logging.format": ("LOG_FORMAT",),
    "worker.models_dir": ("MODELS_DIR",),
    "worker.models_prefer": ("MODELS_PREFER",),
    "consumer.queue_url": ("QUEUE_URL",),
    "consumer.poll_interval_s": ("POLL_INTERVAL",),
    "consumer.max_messages": ("MAX_MESSAGES",),
    "consumer.wait_time_s": ("WAIT_TIME",),
    "consumer.visibility_timeout_s": ("VISIBILITY_TIMEOUT",),
}
_OPTIONS: Final[dict[str, str | None]] = {
    "worker.models_prefer": "prefer",
    "aws.endpoint_url": "endpoint_url",
    "aws.allowed_buckets": "allowed_buckets",
    "aws.expected_bucket_owner": "expected_bucket_owner",
    "aws.boto3_endpoint_url": None,  # boto3 reads it
    "results.results_url": "results",
    "results.cache_url": "cache",
    "results.outbox_url": "outbox",
    "callback.signing_secrets": None,  # the process list shows options to everyone
}
_PREFIXES: Final[dict[Group, str]] = {
    "aws": "aws_",
    "callback": "callback_",
    "logging": "log_",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting and its names.

    Attributes:
        group: Class in ``settings`` that it is a field of; ``worker`` is ``Settings`` itself.
        name: Name of the field.
        hint: The field's annotation: type, range and format.
        default: Used when it is not set; None if ``required``.
        required: There is no default.
        secret: Its value is never repeated in a message.
        environment: Variables; the first one that is set wins.
        option: Destination of the option, as ``poll_interval``; None if there is no option.
    """

    group: Group
    name: str
    hint: Any
    default: object
    required: bool
    secret: bool
    environment: tuple[str, ...]
    option: str | None

    @property
    def flag(self) -> str:
        """The option as typed."""
        return "--" + (self.option or self.name).replace("_", "-")

    @property
    def type(self) -> type:
        """``bool``, ``int``, ``float``, ``str``, ``Path`` or ``tuple`` (of strings)."""
        plain, _ = _parts(self.hint)
        origin = typing.get_origin(plain) or plain
        return str if origin is Literal else typing.cast("type", origin)

    @property
    def words(self) -> tuple[str, ...]:
        """The only strings allowed, in any case; empty allows any string."""
        plain, _ = _parts(self.hint)
        return typing.get_args(plain) if typing.get_origin(plain) is Literal else ()

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest number allowed; None if it is no number."""
        return next(
            (
                (typing.cast("float", m.ge), typing.cast("float", m.le))
                for m in _parts(self.hint)[1]
                if isinstance(m, Interval)
            ),
            None,
        )

    @property
    def is_url(self) -> bool:
        """It is an http or https URL."""
        return any(p in _parts(self.hint)[1] for p in map(Predicate, _URLS))

    def allowed(self) -> str:
        """Return what is allowed, as it follows ``Allowed:`` in an error."""
        described = next((m for m in _parts(self.hint)[1] if isinstance(m, DocInfo)), None)
        if described is not None:
            return described.documentation
        if self.words:
            return ", ".join(self.words[:-1]) + f" or {self.words[-1]}"
        if self.bounds is not None:
            low, high = map(_plain_number, self.bounds)
            kind = "a whole number" if self.type is int else "a number"
            return f"{kind} from {low} to {high}"
        return _ALLOWED[self.type]


_ALLOWED: Final[dict[type, str]] = {
    bool: "true or false",
    tuple: "names, with commas between them",
    Path: "a path",
    str: "a string",
}


def _parts(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """Return the type of an annotation, without ``None``, and what annotates it."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is Annotated:
        return hint.__origin__, hint.__metadata__
    return hint, ()


def _plain_number(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _option(group: Group, name: str) -> str | None:
    prefix = _PREFIXES.get(group, "")
    usual = prefix + name.removeprefix(prefix).removesuffix("_s")
    return _OPTIONS.get(f"{group}.{name}", usual)


def _environment(group: Group, name: str) -> tuple[str, ...]:
    if group == "aws" and name in CREDENTIALS:
        return ()  # boto3 reads them, after the config file
    prefix = "CALLBACK_" if group == "callback" else ""
    return _ENVIRONMENT.get(f"{group}.{name}", (f"DETECTION_{prefix}{name.upper()}",))


def _rows(group: Group, cls: type) -> list[Setting]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        Setting(
            group=group,
            name=field.name,
            hint=hints[field.name],
            default=None if field.default is dataclasses.MISSING else field.default,
            required=field.default is dataclasses.MISSING,
            secret=not field.repr,
            environment=_environment(group, field.name),
            option=_option(group, field.name),
        )
        for field in dataclasses.fields(cls)
        if not dataclasses.is_dataclass(hints[field.name])
    ]


SETTINGS: Final = tuple(row for group, cls in GROUPS.items() for row in _rows(group, cls))
"""One row for each field of ``settings``."""


def rows_of(group: Group) -> tuple[Setting, ...]:
    """Return the settings of one group, in the order of its fields."""
    return tuple(row for row in SETTINGS if row.group == group)


def setting(group: Group, name: str) -> Setting:
    """Return the setting that is the field ``name`` of a group."""
    return next(row for row in rows_of(group) if row.name == name)
