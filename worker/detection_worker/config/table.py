"""Every setting with its names outside: option, environment variables, place in the file.

The rows follow from the fields of ``settings``; only what the original guide named otherwise, and
the ranges, are written down here.
"""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Final, Literal

from detection_worker.config.values import Rule
from detection_worker.settings import (
    MIB,
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    LoggingSettings,
    MediaLimits,
    Settings,
)

Group = Literal["aws", "data", "logging", "limits", "callback", "consumer", "worker"]

GROUPS: Final[dict[Group, type]] = {
    "aws": AwsSettings,
    "data": DataSettings,
    "logging": LoggingSettings,
    "limits": MediaLimits,
    "callback": CallbackSettings,
    "consumer": ConsumerSettings,
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
_OPTIONS: Final = {
    "worker.models_prefer": "prefer",
    "aws.endpoint_url": "endpoint_url",
    "aws.allowed_buckets": "allowed_buckets",
    "aws.expected_bucket_owner": "expected_bucket_owner",
}
_PREFIXES: Final[dict[Group, str]] = {
    "aws": "aws_",
    "callback": "callback_",
    "logging": "log_",
}
_NOT_AN_OPTION: Final = (
    "aws.boto3_endpoint_url",  # boto3 reads it
    "callback.signing_secrets",  # the process list shows options to everyone
)

_WORDS: Final = {
    "logging.level": ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"),
    "logging.format": ("plain", "json"),
}
_URLS: Final = (
    "aws.endpoint_url",
    "aws.boto3_endpoint_url",
    "consumer.queue_url",
    "consumer.dead_letter_queue_url",
)
_SECRETS: Final = (
    "aws.access_key_id",
    "aws.secret_access_key",
    "aws.session_token",
    "callback.signing_secrets",
)

_DAY_S: Final = 86_400
_LEASE_S: Final = 43_200
"""Longest visibility timeout that SQS takes."""
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "limits.max_bytes": (1, 5 * 1024 * 1024 * MIB),  # 5 TiB: the largest S3 object
    "limits.max_pixels": (1, 1_000_000_000),
    "limits.max_duration_s": (0.1, _DAY_S),
    "limits.max_frames_decoded": (1, 100_000_000),
    "limits.decode_timeout_s": (0.1, _LEASE_S),
    "limits.decode_memory_bytes": (64 * MIB, 1024 * 1024 * MIB),
    "callback.connect_timeout_s": (0.1, 300),
    "callback.read_timeout_s": (0.1, 300),
    "callback.attempts": (1, 20),
    "callback.retry_base_s": (0, 60),
    "callback.max_elapsed_s": (0, 3600),
    "consumer.poll_interval_s": (0, 3600),
    "consumer.max_messages": (1, 10),  # SQS hands out no more at once
    "consumer.wait_time_s": (0, 20),  # SQS holds a poll open no longer
    # A lease is looked at once a second and needs two chances to be extended.
    "consumer.visibility_timeout_s": (3, _LEASE_S),
    "consumer.stats_interval": (0, 1_000_000_000),
    "consumer.max_in_flight": (1, 100_000),  # SQS hands out 120,000 unacknowledged messages
    "consumer.prefetch_seconds": (0.1, 3600),
    "consumer.max_bytes_in_flight": (MIB, 1024 * 1024 * MIB),
    "consumer.pollers": (1, 32),
    "consumer.downloaders": (1, 256),
    "consumer.decoders": (0, 256),
    "consumer.callback_workers": (1, 1024),
    "consumer.batch_units": (1, 4096),
    "consumer.batch_wait_s": (0, 10),
    "consumer.torch_threads": (0, 256),
    "consumer.stall_timeout_s": (1, _LEASE_S),
    "consumer.shutdown_grace_s": (0, _LEASE_S),
    "consumer.queue_wait_objective_s": (0, 14 * _DAY_S),  # SQS keeps messages no longer
    "consumer.max_backoff_s": (0, _LEASE_S),
    "consumer.control_port": (0, 65_535),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting and its names.

    Attributes:
        group: The value object that it belongs to.
        name: Field of that object.
        rule: What it may be.
        default: Used when nobody sets it; None if ``required``.
        required: There is no default.
        environment: Variables, the first one set wins.
        option: Destination of the option, as ``poll_interval``; None if there is no option.
    """

    group: Group
    name: str
    rule: Rule
    default: object
    required: bool
    environment: tuple[str, ...]
    option: str | None

    @property
    def flag(self) -> str:
        """The option as typed."""
        return "--" + (self.option or self.name).replace("_", "-")


def _rule(path: str, kind: type) -> Rule:
    low, high = _RANGES.get(path, (0, float("inf")))
    return Rule(
        type=kind,
        low=low,
        high=high,
        words=_WORDS.get(path, ()),
        url=path in _URLS,
        network=path == "callback.allowed_networks",
        secret=path in _SECRETS,
    )


def _plain_type(hint: object) -> type:
    if isinstance(hint, UnionType):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        return str
    if not isinstance(origin, type):
        raise TypeError(f"{hint!r} is no type that a setting can have")
    return origin


def _option(group: Group, name: str) -> str | None:
    path = f"{group}.{name}"
    if path in _NOT_AN_OPTION:
        return None
    prefix = _PREFIXES.get(group, "")
    return _OPTIONS.get(path, prefix + name.removeprefix(prefix).removesuffix("_s"))


def _environment(group: Group, name: str) -> tuple[str, ...]:
    if group == "aws" and name in CREDENTIALS:
        return ()  # boto3 reads them, after the config file
    prefix = "CALLBACK_" if group == "callback" else ""
    return _ENVIRONMENT.get(f"{group}.{name}", (f"DETECTION_{prefix}{name.upper()}",))


def _setting(group: Group, field: dataclasses.Field[object], hint: object) -> Setting:
    required = field.default is dataclasses.MISSING
    return Setting(
        group=group,
        name=field.name,
        rule=_rule(f"{group}.{field.name}", _plain_type(hint)),
        default=None if required else field.default,
        required=required,
        environment=_environment(group, field.name),
        option=_option(group, field.name),
    )


def _rows() -> tuple[Setting, ...]:
    rows: list[Setting] = []
    for group, cls in GROUPS.items():
        hints = typing.get_type_hints(cls)
        rows += [_setting(group, field, hints[field.name]) for field in dataclasses.fields(cls)]
    own = {field.name: field for field in dataclasses.fields(Settings)}
    models = [_setting("worker", own["models_dir"], Path)]
    models.append(_setting("worker", own["models_prefer"], tuple))
    models.append(_setting("worker", own["video_audio"], bool))
    return (*rows, *models)


SETTINGS: Final = _rows()
"""One row for each field of ``settings``."""


def rows_of(group: Group) -> tuple[Setting, ...]:
    """Return the settings of one group, in the order of its fields."""
    return tuple(row for row in SETTINGS if row.group == group)
