"""Putting options, environment and config file together in their order of precedence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

from detection_worker.config.file import DEFAULT_NAME, ConfigFile, read_config_file
from detection_worker.config.table import CREDENTIALS, SETTINGS, Group, Setting, rows_of
from detection_worker.config.values import Value, parse
from detection_worker.errors import UsageError
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    LoggingSettings,
    MediaLimits,
    Settings,
)

CONFIG_VARIABLE: Final = "DETECTION_CONFIG"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings and where they came from.

    Attributes:
        settings: Checked.
        config_path: The config file that was read; None without one.
        region_chosen: Somebody set the region; False means the default.
        warnings: Sentences for the user; no secrets.
    """

    settings: Settings
    config_path: Path | None
    region_chosen: bool
    warnings: tuple[str, ...]


def load_settings(options: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Loaded:
    """Return the settings of every command.

    Args:
        options: By ``Setting.option``, and ``config`` (path) and ``verbose`` (bool); None and
            absent alike mean not given. Other keys are ignored.
        environ: Of the process; an empty variable counts as not set.
        cwd: Where ``aws_config.json`` is looked for and what relative paths are relative to.

    Raises:
        UsageError: Something is missing, unknown, of a wrong type or out of range.
    """
    given = {k: v for k, v in options.items() if v is not None}
    if given.get("verbose"):
        given["log_level"] = "DEBUG"
    file = _config_file(given, environ, cwd)
    values: dict[tuple[Group, str], Value] = {
        (row.group, row.name): _anchored(_lookup(row, given, environ, file), cwd)
        for row in SETTINGS
        if row.group != "consumer" and not _is_credential(row)
    }
    credentials = _credentials(given, file)
    values.update({("aws", name): value for name, value in credentials.items()})
    return Loaded(
        settings=Settings(
            aws=_build(AwsSettings, values, "aws"),
            data=_build(DataSettings, values, "data"),
            logging=_build(LoggingSettings, values, "logging"),
            limits=_build(MediaLimits, values, "limits"),
            callback=_build(CallbackSettings, values, "callback"),
            models_dir=cast("Path | None", values["worker", "models_dir"]),
            models_prefer=cast("tuple[str, ...]", values["worker", "models_prefer"]),
            video_audio=cast("bool", values["worker", "video_audio"]),
        ),
        config_path=file.path,
        region_chosen=_is_set(rows_of("aws"), "region", (given, environ, file)),
        warnings=file.warnings,
    )


def load_consumer(options: Mapping[str, object], environ: Mapping[str, str]) -> ConsumerSettings:
    """Return the settings of the consumer; arguments as for ``load_settings``.

    Raises:
        UsageError: There is no queue URL, or a value is wrong.
    """
    given = {k: v for k, v in options.items() if v is not None}
    nowhere = ConfigFile(path=None, values={})
    values: dict[tuple[Group, str], Value] = {
        (row.group, row.name): _lookup(row, given, environ, nowhere) for row in rows_of("consumer")
    }
    if values["consumer", "queue_url"] is None:
        raise UsageError("No SQS queue URL given\nSet QUEUE_URL or use --queue-url URL.")
    return _build(ConsumerSettings, values, "consumer")


def consumer_value(name: str, options: Mapping[str, object], environ: Mapping[str, str]) -> Value:
    """Return one setting of the consumer, for commands that need no more of it.

    Args:
        name: Field of ``ConsumerSettings``.
        options: As for ``load_settings``.
        environ: Likewise.

    Returns:
        The value; None for a queue URL that nobody gave.

    Raises:
        UsageError: It is wrong.
    """
    row = next(r for r in rows_of("consumer") if r.name == name)
    given = {k: v for k, v in options.items() if v is not None}
    return _lookup(row, given, environ, ConfigFile(path=None, values={}))


def _build(cls: Callable[..., T], values: Mapping[tuple[Group, str], Value], group: Group) -> T:
    return cls(**{name: value for (of, name), value in values.items() if of == group})


def _is_credential(row: Setting) -> bool:
    return row.group == "aws" and row.name in CREDENTIALS


def _config_file(given: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> ConfigFile:
    named = given.get("config") or environ.get(CONFIG_VARIABLE)
    path = cwd / Path(str(named or DEFAULT_NAME)).expanduser()
    return read_config_file(path, required=named is not None and named != "")


def _lookup(
    row: Setting, given: Mapping[str, object], environ: Mapping[str, str], file: ConfigFile
) -> Value:
    if row.option is not None and row.option in given:
        return parse(given[row.option], rule=row.rule, where=row.flag)
    for variable in row.environment:
        if environ.get(variable, "").strip():
            return parse(environ[variable], rule=row.rule, where=variable)
    if (row.group, row.name) in file.values:
        return file.values[row.group, row.name]
    return cast("Value", row.default)


def _is_set(
    rows: tuple[Setting, ...],
    name: str,
    places: tuple[Mapping[str, object], Mapping[str, str], ConfigFile],
) -> bool:
    given, environ, file = places
    row = next(r for r in rows if r.name == name)
    return (
        row.option in given
        or any(environ.get(v, "").strip() for v in row.environment)
        or (row.group, row.name) in file.values
    )


def _anchored(value: Value, cwd: Path) -> Value:
    return cwd / value if isinstance(value, Path) else value


def _credentials(given: Mapping[str, object], file: ConfigFile) -> dict[str, Value]:
    rows = [row for row in rows_of("aws") if _is_credential(row)]
    from_options = {
        r.name: parse(given[r.option], rule=r.rule, where=r.flag)
        for r in rows
        if r.option is not None and r.option in given
    }
    if from_options:
        return _complete(from_options, "--aws-access-key-id and --aws-secret-access-key")
    from_file = {
        r.name: file.values["aws", r.name] for r in rows if ("aws", r.name) in file.values
    }
    from_file = {name: value for name, value in from_file.items() if value is not None}
    if from_file:
        return _complete(from_file, f"access_key_id and secret_access_key in {file.path}")
    return {}


def _complete(found: dict[str, Value], both: str) -> dict[str, Value]:
    missing = [name for name in CREDENTIALS[:2] if name not in found]
    if missing:
        raise UsageError(
            f"AWS credentials are incomplete: {' and '.join(missing)} missing\n"
            f"Give both {both}, or none to use the environment, a profile or an IAM role."
        )
    return found
