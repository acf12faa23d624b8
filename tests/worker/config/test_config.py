"""Settings from options, environment and config file."""

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.environment import WORKER_VARIABLES
from detection_worker.config import load_consumer, load_settings
from detection_worker.config.table import FILE_KEYS, SETTINGS, Setting
from detection_worker.errors import UsageError
from detection_worker.settings import ConsumerSettings, Settings

QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/deepfake-queue"
TEMPLATE = Path(__file__).parents[3] / "aws_config_template.json"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def value_of(row: Setting, options: dict[str, Any], environ: dict[str, str], cwd: Path) -> object:
    """Read one setting the way a command does."""
    if row.group == "consumer":
        environ = {"QUEUE_URL": QUEUE, **environ}
        return getattr(load_consumer(options, environ), row.name)
    settings = load_settings(options, environ, cwd).settings
    owner = settings if row.group == "worker" else getattr(settings, row.group)
    return getattr(owner, row.name)


def samples(row: Setting) -> tuple[tuple[str, object], ...]:  # noqa: PLR0911 - one for each type
    """Three different texts for a setting, each with the value that it means."""
    if row.type is bool:
        return (("true", True), ("false", False), ("1", True))
    if row.words:
        return tuple((w.lower(), w) for w in (*row.words, *row.words))[:3]
    if row.bounds is not None:
        low, top = map(row.type, row.bounds)
        middle = row.type((low + top) / 2)
        return ((str(middle), middle), (str(low), low), (str(top), top))
    if row.is_url:
        urls = [f"https://{host}.example.com/1/q" for host in "abc"]
        return tuple((u, u) for u in urls)
    if row.type is Path:
        return tuple((p, Path(p)) for p in ("/a/b", "/c", "/d e"))
    if row.name in ("results_url", "cache_url"):
        return tuple((u, u) for u in ("s3://abc/x/", "s3://abc", "s3://abc/x/y"))
    if row.name == "results_bucket_owner":
        return tuple((a, a) for a in ("123456789012", "000000000000", "999999999999"))
    if row.name == "results_key":
        keys = ("{request_id}", "{date}/{message_id}-{index}.json", "a/{bucket}/{request_id}")
        return tuple((k, k) for k in keys)
    if row.name in ("on_success", "on_failure"):
        one, other = "arn:aws:sns:us-east-1:123456789012:a", "arn:aws:sqs:eu-west-1:123456789012:q"
        bus = "arn:aws:events:us-east-1:123456789012:event-bus/b"
        return ((one, (one,)), (f"{one}, {other}", (one, other)), (bus, (bus,)))
    if row.name == "allowed_networks":
        return tuple((n, (n,)) for n in ("10.0.0.0/8", "fd00::/8", "192.168.0.0/16"))
    if row.type is tuple and not row.secret:
        return (("one", ("one",)), ("a, b", ("a", "b")), ("x-*", ("x-*",)))
    return tuple((w, w) for w in ("one", "two", "three"))


WITH_OPTION = [pytest.param(row, id=row.flag) for row in SETTINGS if row.option is not None]
WITH_VARIABLE = [pytest.param(row, v, id=v) for row in SETTINGS for v in row.environment]


@pytest.mark.parametrize("row", WITH_OPTION)
def test_an_option_beats_environment_file_and_default(row: Setting, tmp_path: Path) -> None:
    (text, value), (other, _), _ = samples(row)
    environ = dict.fromkeys(row.environment, other)
    assert row.option is not None
    options = {row.option: text}
    if row.group == "aws" and row.name.endswith(("key_id", "key", "token")):
        options = {"aws_access_key_id": "one", "aws_secret_access_key": "one", **options}

    assert value_of(row, options, environ, tmp_path) == value


@pytest.mark.parametrize(("row", "variable"), WITH_VARIABLE)
def test_a_variable_beats_the_default(row: Setting, variable: str, tmp_path: Path) -> None:
    text, value = next((t, v) for t, v in samples(row) if v != row.default)
    if row.type is tuple and row.secret:
        text, value = f"{SECRET}, {SECRET}", (SECRET, SECRET)

    assert value_of(row, {}, {variable: text}, tmp_path) == value


@pytest.mark.parametrize(("row", "variable"), WITH_VARIABLE)
def test_an_empty_variable_counts_as_not_set(row: Setting, variable: str, tmp_path: Path) -> None:
    if row.required:
        with pytest.raises(UsageError, match="No SQS queue URL given"):
            load_consumer({}, {variable: ""})
    else:
        assert value_of(row, {}, {variable: "  "}, tmp_path) == row.default


@given(
    option=st.none() | st.sampled_from(["DEBUG", "info"]),
    variable=st.none() | st.sampled_from(["", "WARNING", "error"]),
    in_file=st.none() | st.sampled_from(["CRITICAL", "Error"]),
)
def test_precedence_is_option_then_environment_then_file_then_default(
    tmp_path_factory: pytest.TempPathFactory,
    option: str | None,
    variable: str | None,
    in_file: str | None,
) -> None:
    cwd = tmp_path_factory.mktemp("cwd")
    if in_file is not None:
        write(cwd / "aws_config.json", {"logging": {"level": in_file}})
    environ = {} if variable is None else {"LOG_LEVEL": variable}

    level = load_settings({"log_level": option}, environ, cwd).settings.logging.level

    assert level == (option or variable or in_file or "INFO").upper()


def write(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_the_worker_reads_every_variable_that_the_operator_sets() -> None:
    read = {variable for row in SETTINGS for variable in row.environment}

    assert set(WORKER_VARIABLES) <= read


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load_settings({}, {}, tmp_path)

    assert loaded.settings == Settings()
    assert load_consumer({}, {"QUEUE_URL": QUEUE}) == ConsumerSettings(queue_url=QUEUE)
    assert (loaded.config_path, loaded.region_chosen, loaded.warnings) == (None, False, ())


def test_every_key_of_the_file_arrives(tmp_path: Path) -> None:
    path = write(
        tmp_path / "aws_config.json",
        {
            "aws": {
                "access_key_id": "AKIA1",
                "secret_access_key": "s1",
                "region": "eu-west-1",
                "session_token": "t1",
            },
            "data": {"temp_dir": "/x", "s3_cache_dir": "rel", "cleanup_temp_files": False},
            "logging": {"level": "warning", "log_to_console": False},
        },
    )

    loaded = load_settings({}, {}, tmp_path)

    aws, data, logging = loaded.settings.aws, loaded.settings.data, loaded.settings.logging
    assert (aws.access_key_id, aws.secret_access_key, aws.session_token) == ("AKIA1", "s1", "t1")
    assert (aws.region, loaded.region_chosen) == ("eu-west-1", True)
    assert (data.temp_dir, data.s3_cache_dir) == (Path("/x"), tmp_path / "rel")
    assert data.cleanup_temp_files is False
    assert (logging.level, logging.log_to_console) == ("WARNING", False)
    assert loaded.config_path == path


def test_aws_region_wins_over_aws_default_region(tmp_path: Path) -> None:
    environ = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}

    assert load_settings({}, environ, tmp_path).settings.aws.region == "eu-west-1"


def test_verbose_means_debug_whatever_else_is_set(tmp_path: Path) -> None:
    loaded = load_settings({"verbose": True}, {"LOG_LEVEL": "ERROR"}, tmp_path)

    assert loaded.settings.logging.level == "DEBUG"


class TestCredentials:
    """Options, then the file, then boto3's own chain."""

    def test_keys_in_the_environment_are_left_to_boto3(self, tmp_path: Path) -> None:
        environ = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}

        aws = load_settings({}, environ, tmp_path).settings.aws

        assert (aws.access_key_id, aws.secret_access_key) == (None, None)

    def test_options_replace_all_of_the_file_s_keys(self, tmp_path: Path) -> None:
        keys = {"access_key_id": "file", "secret_access_key": "file", "session_token": "file"}
        write(tmp_path / "aws_config.json", {"aws": keys})
        options = {"aws_access_key_id": "opt", "aws_secret_access_key": "opt2"}

        aws = load_settings(options, {}, tmp_path).settings.aws

        assert (aws.access_key_id, aws.secret_access_key) == ("opt", "opt2")
        assert aws.session_token is None

    def test_half_a_pair_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"incomplete: secret_access_key missing\nGive both"):
            load_settings({"aws_access_key_id": "AKIA"}, {}, tmp_path)

    def test_half_a_pair_in_the_file_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "aws_config.json", {"aws": {"secret_access_key": "s"}})

        with pytest.raises(
            UsageError, match=r"access_key_id missing\nGive both .*aws_config.json"
        ):
            load_settings({}, {}, tmp_path)

    def test_the_untouched_template_counts_as_not_set_with_a_warning(self, tmp_path: Path) -> None:
        write(tmp_path / "aws_config.json", TEMPLATE.read_text())

        loaded = load_settings({}, {}, tmp_path)

        assert loaded.settings == Settings()
        [warning] = loaded.warnings
        assert "placeholder for aws.access_key_id, aws.secret_access_key" in warning

    def test_no_error_and_no_repr_shows_a_secret(self, tmp_path: Path) -> None:
        options = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "hush-hush"}

        assert "hush-hush" not in repr(load_settings(options, {}, tmp_path))


def test_the_template_has_every_key_of_the_file() -> None:
    template = json.loads(TEMPLATE.read_text())

    assert {k: tuple(v) for k, v in template.items()} == {
        "aws": ("access_key_id", "secret_access_key", "region", "session_token"),
        "data": FILE_KEYS["data"],
        "logging": FILE_KEYS["logging"],
    }


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param(
            {"aws": {"acess_key_id": "x"}},
            r"unknown key: 'aws\.acess_key_id'\nDid you mean 'aws\.access_key_id'\? Known: ",
            id="a misspelt key gets the nearest",
        ),
        pytest.param(
            {"aws": {"zzz": 1, "yyy": 2}}, r"unknown keys: 'aws\.zzz', 'aws\.yyy'\n", id="two"
        ),
        pytest.param({"AWS": {}}, r"unknown key: 'AWS'\nDid you mean 'aws'", id="unknown section"),
        pytest.param({"aws": []}, r"aws must be an object", id="section of another type"),
        pytest.param({"aws": {"region": 5}}, r"aws\.region is 5\nAllowed: a string", id="number"),
        pytest.param({"aws": {"region": None}}, r"aws\.region is null", id="null"),
        pytest.param(
            {"data": {"cleanup_temp_files": "true"}},
            r"data\.cleanup_temp_files must be true or false without quotes",
            id="quoted boolean",
        ),
        pytest.param(
            {"logging": {"level": "LOUD"}}, r"logging\.level is 'LOUD'\nAllowed: DEBUG", id="word"
        ),
        pytest.param([1], r"holds no JSON object", id="no object"),
        pytest.param('{"aws": {,}}', r"not valid JSON: .* at line 1 column 10", id="no JSON"),
        pytest.param('{"aws": {}, "aws": {}}', r"names 'aws' twice", id="the same key twice"),
        pytest.param('{"aws":' + "[" * 100_000, r"not (valid )?JSON", id="nested without end"),
        pytest.param(" " * 1_048_577, r"over 1048576 bytes", id="huge"),
        pytest.param('{"aws": {"session_token": 7}}', r"session_token is wrong", id="secret"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(document: object, text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "my.json", document)

    with pytest.raises(UsageError, match=text) as caught:
        load_settings({"config": "my.json"}, {}, tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" in str(caught.value)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "aws_config.json").write_bytes(b'{"aws": {"region": "\xff"}}')

    with pytest.raises(UsageError, match="not JSON in UTF-8"):
        load_settings({}, {}, tmp_path)


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "aws_config.json").write_bytes(b'\xef\xbb\xbf{"aws": {"region": "eu-west-3"}}')

    assert load_settings({}, {}, tmp_path).settings.aws.region == "eu-west-3"


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read .*directory"):
        load_settings({"config": "."}, {}, tmp_path)


@pytest.mark.parametrize("where", ["option", "environment"])
def test_a_named_file_that_is_missing_is_an_error(where: str, tmp_path: Path) -> None:
    options = {"config": "gone.json"} if where == "option" else {}
    environ = {"DETECTION_CONFIG": "gone.json"} if where == "environment" else {}

    with pytest.raises(UsageError, match=r"Configuration file not found: .*gone\.json\n"):
        load_settings(options, environ, tmp_path)


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("MAX_MESSAGES", "11", "a whole number from 1 to 10"),
        ("MAX_MESSAGES", "0", "a whole number from 1 to 10"),
        ("MAX_MESSAGES", "2.5", "a whole number from 1 to 10"),
        ("WAIT_TIME", "21", "a whole number from 0 to 20"),
        ("VISIBILITY_TIMEOUT", "43201", "a whole number from 3 to 43200"),
        ("VISIBILITY_TIMEOUT", "2", "a whole number from 3 to 43200"),
        ("POLL_INTERVAL", "-1", "a number from 0 to 3600"),
        ("POLL_INTERVAL", "nan", "a number from 0 to 3600"),
        ("POLL_INTERVAL", "inf", "a number from 0 to 3600"),
        ("POLL_INTERVAL", "soon", "a number from 0 to 3600"),
        ("DETECTION_CONTROL_PORT", "65536", "a whole number from 0 to 65535"),
        ("DETECTION_DRY_RUN", "maybe", "true or false"),
        ("QUEUE_URL", "deepfake-queue", "an http or https URL"),
        ("QUEUE_URL", "https://host:99999/1/q", "an http or https URL"),
    ],
)
def test_a_bad_consumer_value_is_named_with_what_is_allowed(
    variable: str, text: str, allowed: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_consumer({}, {"QUEUE_URL": QUEUE, variable: text})

    assert str(caught.value) == f"{variable} is {text!r}\nAllowed: {allowed}."


@pytest.mark.parametrize("text", ["plain", "whsec_%%%", "whsec_" + "YQ==", f"{SECRET} x"])
def test_a_bad_signing_secret_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings({}, {"DETECTION_CALLBACK_SIGNING_SECRETS": text}, tmp_path)

    assert "DETECTION_CALLBACK_SIGNING_SECRETS is wrong" in str(caught.value)
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    "row", [pytest.param(r, id=r.name) for r in SETTINGS if r.type in (int, float)]
)
def test_every_number_has_an_upper_bound_and_a_default_within(row: Setting) -> None:
    assert row.bounds is not None
    low, high = row.bounds
    assert math.isfinite(high)
    if row.default is not None:
        assert isinstance(row.default, int | float)
        assert low <= row.default <= high


@given(st.text())
def test_no_text_makes_reading_a_number_fail_in_another_way(text: str) -> None:
    environ = {"QUEUE_URL": QUEUE, "MAX_MESSAGES": text, "DETECTION_BATCH_WAIT_S": text}

    try:
        consumer = load_consumer({}, environ)
    except UsageError:
        return
    assert 1 <= consumer.max_messages <= 10
    assert 0 <= consumer.batch_wait_s <= 10


@pytest.mark.parametrize(
    ("environ", "hosts"),
    [
        ({}, set()),
        ({"AWS_ENDPOINT_URL": "http://Localhost:4566/"}, {"localhost:4566"}),
        (
            {"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "http://minio:9000"},
            {"minio:9000"},
        ),
        ({"AWS_ENDPOINT_URL_SQS": "http://a:1"}, set()),
        ({"DETECTION_ENDPOINT_URL": "http://b:2"}, {"b:2"}),
        (
            {"AWS_ENDPOINT_URL": "http://a:1", "DETECTION_ENDPOINT_URL": "http://b:2"},
            {"a:1", "b:2"},
        ),
    ],
)
def test_urls_of_the_endpoint_that_boto3_uses_name_objects_too(
    environ: dict[str, str], hosts: set[str], tmp_path: Path
) -> None:
    assert load_settings({}, environ, tmp_path).settings.aws.endpoint_hosts == hosts


def test_lists_are_split_at_commas_and_checked(tmp_path: Path) -> None:
    loaded = load_settings(
        {"allowed_buckets": "media-*, archive"},
        {"DETECTION_CALLBACK_ALLOWED_NETWORKS": "10.0.0.0/8,fd00::/8"},
        tmp_path,
    )

    assert loaded.settings.aws.allowed_buckets == ("media-*", "archive")
    assert loaded.settings.callback.allowed_networks == ("10.0.0.0/8", "fd00::/8")
    with pytest.raises(
        UsageError, match=r"DETECTION_CALLBACK_ALLOWED_NETWORKS is '10\.0\.0\.1/8'"
    ):
        load_settings({}, {"DETECTION_CALLBACK_ALLOWED_NETWORKS": "10.0.0.1/8"}, tmp_path)


@pytest.mark.parametrize(
    "url", ["https://user:secret@cb.test/x", "ftp://cb.test/x", "https://cb test/x", "https:///x"]
)
def test_a_default_callback_that_no_message_may_name_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="DETECTION_CALLBACK_URL") as caught:
        load_settings({}, {"DETECTION_CALLBACK_URL": url}, tmp_path)

    assert "secret" not in str(caught.value)
