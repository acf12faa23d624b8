"""Options, environment and config file put together in their order of precedence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from detection_contract.aws.sqs_urls import region_of_queue
from detection_worker.config.file import DEFAULT_NAME, ConfigFile, read_config_file
from detection_worker.config.table import CREDENTIALS, Group, Setting, rows_of, setting
from detection_worker.config.values import Value, parse
from detection_worker.errors import UsageError
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
)

CONFIG_VARIABLE: Final = "DETECTION_CONFIG"
NO_FILE: Final = ConfigFile(path=None, values={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings and where they came from.

    Attributes:
        settings: Checked.
        config_path: Path of the config file that was read; None without one.
        region_chosen: The region was set; False means the default.
        warnings: Sentences for the user; no secrets.
    """

    settings: Settings
    config_path: Path | None
    region_chosen: bool
    warnings: tuple[str, ...]

    def aws_for_queue(self, queue_url: str) -> AwsSettings:
        """Return the AWS settings with the queue's own region, unless another was set."""
        aws = self.settings.aws
        region = None if self.region_chosen else region_of_queue(queue_url)
        return replace(aws, region=region) if region else aws


def load_settings(options: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Loaded:
    """Return the settings of every command.

    Args:
        options: By ``Setting.option``, and ``config`` (path) and ``verbose`` (bool); None and
            absent alike mean not given. Other keys are ignored.
        environ: The process's environment; an empty variable counts as not set.
        cwd: Where ``aws_config.json`` is looked for and what relative paths are relative to.

    Raises:
        UsageError: Something is missing, unknown, of a wrong type or out of range.
    """
    places = _Places(options=_given(options), environ=environ, file=NO_FILE)
    places = replace(places, file=_config_file(places, cwd))

    def group(name: Group) -> dict[str, Any]:
        rows = [row for row in rows_of(name) if not _is_credential(row)]
        return {row.name: _anchored(places.value(row), cwd) for row in rows}

    return Loaded(
        settings=Settings(
            aws=AwsSettings(**group("aws"), **_credentials(places)),
            data=DataSettings(**group("data")),
            logging=LoggingSettings(**group("logging")),
            limits=MediaLimits(**group("limits")),
            analysis=AnalysisSettings(**group("analysis")),
            provenance=ProvenanceSettings(**group("provenance")),
            callback=CallbackSettings(**group("callback")),
            results=ResultSettings(**group("results")),
            **group("worker"),
        ),
        config_path=places.file.path,
        region_chosen=places.find(setting("aws", "region")) is not None,
        warnings=places.file.warnings,
    )


def load_consumer(options: Mapping[str, object], environ: Mapping[str, str]) -> ConsumerSettings:
    """Return the settings of the consumer; arguments as for ``load_settings``.

    Raises:
        UsageError: There is no queue URL, or a value is wrong.
    """
    places = _Places(options=_given(options), environ=environ, file=NO_FILE)
    values: dict[str, Any] = {row.name: places.value(row) for row in rows_of("consumer")}
    if values["queue_url"] is None:
        raise UsageError("No SQS queue URL given\nSet QUEUE_URL or use --queue-url URL.")
    return ConsumerSettings(**values)


def consumer_value(name: str, options: Mapping[str, object], environ: Mapping[str, str]) -> Value:
    """Return one setting of the consumer, for commands that need no more of it.

    Args:
        name: Field of ``ConsumerSettings``.
        options: As for ``load_settings``.
        environ: As for ``load_settings``.

    Returns:
        The value; None if no queue URL was given.

    Raises:
        UsageError: It is wrong.
    """
    places = _Places(options=_given(options), environ=environ, file=NO_FILE)
    return places.value(setting("consumer", name))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where settings are given, in their order of precedence."""

    options: Mapping[str, object]
    environ: Mapping[str, str]
    file: ConfigFile

    def find(self, row: Setting) -> tuple[str, object] | None:
        """Return the first place that gives a setting, as the user wrote it, and its value."""
        if row.option is not None and row.option in self.options:
            return row.flag, self.options[row.option]
        for variable in row.environment:
            if self.environ.get(variable, "").strip():
                return variable, self.environ[variable]
        if (row.group, row.name) in self.file.values:
            return str(self.file.path), self.file.values[row.group, row.name]
        return None

    def value(self, row: Setting) -> Value:
        """Return the value of a setting, its default if no place gives one."""
        found = self.find(row)
        if found is None:
            return cast("Value", row.default)
        where, raw = found
        return parse(raw, row, where=where)


def _given(options: Mapping[str, object]) -> dict[str, object]:
    given = {k: v for k, v in options.items() if v is not None}
    return {**given, "log_level": "DEBUG"} if given.get("verbose") else given


def _is_credential(row: Setting) -> bool:
    return row.group == "aws" and row.name in CREDENTIALS


def _config_file(places: _Places, cwd: Path) -> ConfigFile:
    named = places.options.get("config") or places.environ.get(CONFIG_VARIABLE)
    path = cwd / Path(str(named or DEFAULT_NAME)).expanduser()
    return read_config_file(path, required=bool(named))


def _anchored(value: Value, cwd: Path) -> Value:
    return cwd / value if isinstance(value, Path) else value


def _credentials(places: _Places) -> dict[str, Any]:
    """Return the credentials of the first place that has any: options, then the file."""
    options = replace(places, file=NO_FILE)
    file = replace(places, options={})
    pair = f"access_key_id and secret_access_key in {places.file.path}"
    for only, both in ((options, "--aws-access-key-id and --aws-secret-access-key"), (file, pair)):
        found = {row.name: only.value(row) for row in rows_of("aws") if _is_credential(row)}
        found = {name: value for name, value in found.items() if value is not None}
        if found:
            return _complete(found, both)
    return {}


def _complete(found: dict[str, Value], both: str) -> dict[str, Value]:
    missing = [name for name in CREDENTIALS[:2] if name not in found]
    if missing:
        raise UsageError(
            f"AWS credentials are incomplete: {' and '.join(missing)} missing\n"
            f"Give both {both}, or none to use the environment, a profile or an IAM role."
        )
    return found
