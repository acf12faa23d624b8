import errno
import os
import resource
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_worker.aws_session import make_session
from detection_worker.errors import Cancelled, JobError
from detection_worker.settings import AwsSettings
from detection_worker.storage import s3_ranges
from detection_worker.storage.base import FetchedObject, Storage
from detection_worker.storage.s3 import S3Storage
from detection_worker.storage.s3_ranges import disk_error

WHERE = S3Location(bucket="media", key="a b/ä+1.jpg")
PATH = "/media/a%20b/%C3%A4%2B1.jpg"
SMALL = os.urandom(50_000)
LARGE = os.urandom(1_234_567)


def fetch(
    storage: Storage,
    target: Path,
    *,
    location: S3Location = WHERE,
    max_bytes: int = 10_000_000,
    on_progress: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FetchedObject:
    return storage.fetch(
        location, target, max_bytes=max_bytes, on_progress=on_progress, cancelled=cancelled
    )


def code_of(storage: Storage, target: Path, **options: Any) -> ErrorCode:
    with pytest.raises(JobError) as caught:
        fetch(storage, target, **options)
    assert not target.exists()
    return caught.value.code


def answer_with(status: int, code: str, **headers: str) -> Callable[[Any], None]:
    return lambda handler: handler.error(status, code, **headers)


def send_part(handler: Any, *, end: Callable[[Any], None]) -> None:
    """Announce the whole answer, send half of it, then do ``end``."""
    body, etag = handler.server.objects[PATH]
    start, stop = handler.span(len(body))
    handler.head(body[start:stop], etag=etag, span=f"bytes {start}-{stop - 1}/{len(body)}")
    handler.wfile.write(body[start : (start + stop) // 2])
    handler.wfile.flush()
    end(handler)


def cut_short(handler: Any) -> None:
    send_part(handler, end=lambda h: setattr(h, "close_connection", True))


def reset_in_mid_body(handler: Any) -> None:
    send_part(handler, end=lambda h: h.reset())


def stall(handler: Any) -> None:
    send_part(handler, end=lambda h: h.rfile.read(1))
    handler.close_connection = True


def drip(handler: Any) -> None:
    def drop_by_drop(h: Any) -> None:
        body, _ = h.server.objects[PATH]
        start, stop = h.span(len(body))
        try:
            for position in range((start + stop) // 2, stop):
                h.connection.sendall(body[position : position + 1])
                time.sleep(0.01)
        except OSError:
            h.close_connection = True

    send_part(handler, end=drop_by_drop)


def test_a_small_object_costs_one_call_and_lands_whole_for_its_owner_alone(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, SMALL)

    fetched = fetch(storage, target)

    assert target.read_bytes() == SMALL
    assert target.stat().st_mode & 0o777 == 0o600
    assert len(s3.requests) == 1
    assert s3.requests[0][0].partition("?")[0] == PATH
    assert fetched == FetchedObject(
        path=target,
        size_bytes=len(SMALL),
        content_type="image/jpeg",
        last_modified=datetime(2026, 10, 21, 7, 28, tzinfo=UTC),
        etag="one",
    )


def test_one_connection_serves_one_fetch_after_another(
    s3: Any, storage: S3Storage, tmp_path: Path
) -> None:
    s3.put(PATH, SMALL)

    for number in range(5):
        fetch(storage, tmp_path / str(number))

    assert s3.connections == 1


def test_a_large_object_is_read_in_ranges_bound_to_the_first_answer(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, LARGE)

    fetched = fetch(storage, target)

    assert target.read_bytes() == LARGE
    assert fetched.size_bytes == len(LARGE)
    assert len(s3.requests) == 13
    assert "If-Match" not in s3.requests[0][1]
    assert {headers["If-Match"] for _, headers in s3.requests[1:]} == {'"one"'}


def test_many_large_objects_share_few_helpers_without_waiting_for_each_other(
    s3: Any, make_storage: Callable[..., S3Storage], tmp_path: Path
) -> None:
    storage = make_storage(range_threads=1)
    s3.put(PATH, LARGE)
    threads = [
        threading.Thread(target=fetch, args=(storage, tmp_path / str(number)))
        for number in range(6)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all((tmp_path / str(number)).read_bytes() == LARGE for number in range(6))


def test_a_store_that_knows_no_ranges_is_read_in_one_answer(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    def whole(handler: Any) -> None:
        handler.head(LARGE, etag='"one"', span=None)
        handler.wfile.write(LARGE)

    s3.put(PATH, LARGE)
    s3.fail(whole)

    fetch(storage, target)

    assert target.read_bytes() == LARGE
    assert len(s3.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(cut_short, id="a body shorter than announced"),
        pytest.param(reset_in_mid_body, id="a reset in mid body"),
        pytest.param(stall, id="a stall in mid body"),
        pytest.param(drip, id="a body that drips"),
        pytest.param(answer_with(503, "SlowDown"), id="slow down"),
        pytest.param(answer_with(500, "InternalError"), id="an internal error"),
        pytest.param(answer_with(400, "RequestTimeout"), id="a request timeout"),
        pytest.param(lambda handler: handler.reset(), id="a reset before the answer"),
        pytest.param(lambda handler: handler.rfile.read(1), id="silence"),
    ],
)
@pytest.mark.parametrize(
    "body", [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="large")]
)
def test_a_fetch_survives(
    fault: Callable[[Any], None],
    body: bytes,
    s3: Any,
    make_storage: Callable[..., S3Storage],
    target: Path,
) -> None:
    s3.put(PATH, body)
    s3.fail(fault, fault)

    fetch(make_storage(read_timeout_s=0.4), target)

    assert target.read_bytes() == body


def test_a_broken_read_goes_on_where_it_stopped(s3: Any, storage: S3Storage, target: Path) -> None:
    s3.put(PATH, SMALL)
    s3.fail(cut_short)

    fetch(storage, target)

    assert [headers["Range"] for _, headers in s3.requests] == [
        "bytes=0-99999",
        "bytes=25000-99999",
    ]
    assert s3.requests[1][1]["If-Match"] == '"one"'


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        pytest.param(404, "NoSuchKey", ErrorCode.S3_NOT_FOUND, id="no such key"),
        pytest.param(404, "NoSuchVersion", ErrorCode.S3_NOT_FOUND, id="no such version"),
        pytest.param(405, "MethodNotAllowed", ErrorCode.S3_NOT_FOUND, id="a delete marker"),
        pytest.param(404, "NoSuchBucket", ErrorCode.S3_NO_SUCH_BUCKET, id="no such bucket"),
        pytest.param(403, "AccessDenied", ErrorCode.S3_FORBIDDEN, id="access denied"),
        pytest.param(403, "InvalidObjectState", ErrorCode.S3_FORBIDDEN, id="archived"),
        pytest.param(403, "KMS.AccessDenied", ErrorCode.S3_FORBIDDEN, id="key denied"),
        pytest.param(400, "InvalidRequest", ErrorCode.S3_FORBIDDEN, id="customer key missing"),
        pytest.param(416, "InvalidRange", ErrorCode.EMPTY_FILE, id="empty"),
        pytest.param(403, "InvalidAccessKeyId", ErrorCode.CREDENTIALS, id="unknown key"),
        pytest.param(403, "SignatureDoesNotMatch", ErrorCode.CREDENTIALS, id="wrong secret"),
        pytest.param(400, "ExpiredToken", ErrorCode.CREDENTIALS, id="expired token"),
        pytest.param(403, "RequestTimeTooSkewed", ErrorCode.CREDENTIALS, id="wrong clock"),
    ],
)
def test_a_refusal_is_coded_and_not_repeated(
    status: int, code: str, expected: ErrorCode, s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(answer_with(status, code))

    assert code_of(storage, target) is expected
    assert len(s3.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        pytest.param(
            404, "NoSuchKey", "S3 file not found: s3://media/a b/ä+1.jpg", id="not found"
        ),
        pytest.param(
            403, "AccessDenied", "Failed to download S3 file: Access Denied", id="denied"
        ),
    ],
)
def test_users_find_the_texts_of_the_guide(
    status: int, code: str, text: str, s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(answer_with(status, code))

    with pytest.raises(JobError) as caught:
        fetch(storage, target)

    assert caught.value.message == text


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("my%20photo.jpg", "decoded it is s3://media/my photo.jpg)"),
        ("my+photo.jpg", "decoded it is s3://media/my photo.jpg)"),
        ("caf%C3%A9/a%2Bb.jpg", "decoded it is s3://media/café/a+b.jpg)"),
        ("a%0Ab.jpg", "decoded it is s3://media/a\\nb.jpg)"),
        ("uploads/", "is a folder or a prefix: name a file below it)"),
        ("plain.jpg", None),
        ("100%.jpg", None),
        ("a b+c.jpg", None),
        ("é+c.jpg", None),
    ],
)
def test_a_likely_mistake_in_a_key_is_told(
    key: str, hint: str | None, s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(answer_with(404, "NoSuchKey"))

    with pytest.raises(JobError) as caught:
        fetch(storage, target, location=S3Location(bucket="media", key=key))

    said = caught.value.message
    assert said.startswith(f"S3 file not found: s3://media/{key}")
    assert said.endswith(hint or key)
    assert "\n" not in said


def test_an_empty_object_that_is_a_folder_is_called_one(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(answer_with(416, "InvalidRange"))

    with pytest.raises(JobError) as caught:
        fetch(storage, target, location=S3Location(bucket="media", key="uploads/"))

    assert caught.value.code is ErrorCode.EMPTY_FILE
    assert "folder" in caught.value.message


@pytest.mark.parametrize(
    "bucket",
    [
        pytest.param("a/b", id="a slash"),
        pytest.param("arn:aws:s3::123456789012:accesspoint/m.mrap", id="a multi-region point"),
    ],
)
def test_a_bucket_that_cannot_be_asked_for_is_a_bad_url(
    bucket: str, s3: Any, storage: S3Storage, target: Path
) -> None:
    location = S3Location(bucket=bucket, key="k")

    assert code_of(storage, target, location=location) is ErrorCode.BAD_URL
    assert s3.requests == []


def test_an_empty_object_is_told_apart_even_by_a_store_without_ranges(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, b"")
    assert code_of(storage, target) is ErrorCode.EMPTY_FILE

    s3.fail(lambda handler: handler.head(b"", etag='"one"', span=None))
    assert code_of(storage, target) is ErrorCode.EMPTY_FILE


def test_a_too_large_object_is_refused_before_its_bytes_flow(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, LARGE)

    assert code_of(storage, target, max_bytes=len(LARGE) - 1) is ErrorCode.TOO_LARGE
    assert len(s3.requests) == 1
    fetch(storage, target, max_bytes=len(LARGE))


def test_a_store_that_stays_busy_is_given_up_after_the_attempts(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, SMALL)
    s3.fail(*[answer_with(503, "SlowDown")] * 4)

    assert code_of(storage, target) is ErrorCode.S3_UNAVAILABLE
    assert len(s3.requests) == 4


def test_a_long_retry_after_is_handed_to_the_queue_at_once(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(answer_with(503, "SlowDown", Retry_After="30"))

    with pytest.raises(JobError) as caught:
        fetch(storage, target)

    assert caught.value.code is ErrorCode.S3_UNAVAILABLE
    assert caught.value.retry_after_s == 30.0
    assert len(s3.requests) == 1


def test_an_object_replaced_between_ranges_is_read_once_more(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    def replace(handler: Any) -> None:
        s3.put(PATH, SMALL, etag='"two"')
        handler.answer()

    s3.put(PATH, LARGE)
    s3.fail(lambda handler: handler.answer(), replace)

    fetched = fetch(storage, target)

    assert target.read_bytes() == SMALL
    assert fetched.etag == "two"


def test_an_object_that_keeps_changing_is_left_for_later(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, LARGE)
    changed = answer_with(412, "PreconditionFailed")
    s3.fail(lambda h: h.answer(), *[changed] * 5)
    calls = iter(range(10_000))

    def change_again() -> None:
        if next(calls) % 2:
            s3.fail(*[changed] * 5)

    assert code_of(storage, target, on_progress=change_again) is ErrorCode.S3_UNAVAILABLE


def test_a_cancelled_fetch_stops_at_the_next_chunk_and_leaves_no_file(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, LARGE)
    steps: list[int] = []

    with pytest.raises(Cancelled):
        fetch(
            storage,
            target,
            on_progress=lambda: steps.append(1),
            cancelled=lambda: len(steps) >= 3,
        )

    assert len(steps) <= 3 + 5  # each of the five threads may be inside one more chunk
    assert not target.exists()


def test_a_cancelled_fetch_does_not_sit_out_its_pause(
    s3: Any,
    make_storage: Callable[..., S3Storage],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_ranges, "MAX_PAUSE_S", 60.0)
    storage = make_storage()
    s3.fail(*[answer_with(503, "SlowDown", Retry_After="60")] * 4)
    started_s = time.monotonic()

    with pytest.raises(Cancelled):
        fetch(storage, target, cancelled=lambda: len(s3.requests) > 0)

    assert time.monotonic() - started_s < 10.0  # of the 60 s that S3 asks for


def test_the_version_and_the_expected_owner_travel_with_every_call(
    s3: Any, make_storage: Callable[..., S3Storage], target: Path
) -> None:
    storage = make_storage(expected_bucket_owner="123456789012")
    s3.put(PATH, LARGE)

    fetch(storage, target, location=S3Location(bucket="media", key=WHERE.key, version_id="v 7"))

    assert len(s3.requests) == 13
    for path, headers in s3.requests:
        assert "versionId=v%207" in path
        assert headers["x-amz-expected-bucket-owner"] == "123456789012"


@pytest.mark.parametrize(
    ("allowed", "fetched"),
    [
        pytest.param(frozenset({"media"}), True, id="named"),
        pytest.param(frozenset({"med*"}), True, id="by pattern"),
        pytest.param(frozenset({"other", "media2"}), False, id="not named"),
    ],
)
def test_only_allowed_buckets_are_asked(
    *,
    allowed: frozenset[str],
    fetched: bool,
    s3: Any,
    make_storage: Callable[..., S3Storage],
    target: Path,
) -> None:
    storage = make_storage(allowed_buckets=allowed)
    s3.put(PATH, SMALL)

    if fetched:
        fetch(storage, target)
    else:
        assert code_of(storage, target) is ErrorCode.S3_FORBIDDEN

    assert len(s3.requests) == int(fetched)


def test_a_bucket_of_another_region_is_asked_there_and_remembered(
    s3: Any, storage: S3Storage, tmp_path: Path
) -> None:
    s3.put(PATH, SMALL)
    s3.fail(answer_with(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1"))

    fetch(storage, tmp_path / "first")
    fetch(storage, tmp_path / "second")

    regions = [headers["Authorization"].split("/")[2] for _, headers in s3.requests]
    assert regions == ["us-east-1", "eu-central-1", "eu-central-1"]


def test_a_region_of_another_partition_is_refused_without_a_call(target: Path) -> None:
    aws = AwsSettings(access_key_id="AKID", secret_access_key="secret")
    storage = S3Storage(make_session(aws), aws)

    with pytest.raises(JobError, match="partition aws-cn") as caught:
        fetch(storage, target, location=S3Location(bucket="b", key="k", region="cn-north-1"))

    assert caught.value.code is ErrorCode.S3_FORBIDDEN
    storage.close()


def test_missing_credentials_are_the_workers_fault(
    s3: Any,
    make_storage: Callable[..., S3Storage],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    storage = make_storage(aws=AwsSettings(endpoint_url=s3.url))

    assert code_of(storage, target) is ErrorCode.CREDENTIALS


def test_a_web_identity_token_that_is_gone_is_the_workers_fault(
    s3: Any,
    make_storage: Callable[..., S3Storage],
    tmp_path: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/worker")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    storage = make_storage(aws=AwsSettings(endpoint_url=s3.url))

    assert code_of(storage, target) is ErrorCode.CREDENTIALS


def test_a_target_that_exists_is_not_overwritten(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, SMALL)
    target.write_bytes(b"of another job")

    with pytest.raises(JobError):
        fetch(storage, target)

    assert target.read_bytes() == b"of another job"


@pytest.mark.parametrize(
    "body", [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="large")]
)
def test_a_full_disk_is_transient_and_leaves_no_file(
    body: bytes, s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, body)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # writes beyond: EFBIG
    try:
        code = code_of(storage, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert code is ErrorCode.S3_UNAVAILABLE


def test_a_full_disk_is_named() -> None:
    error = disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    assert error.message == (
        "The download could not be written to the local disk: No space left on device"
    )


def test_progress_is_reported_while_bytes_arrive(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put(PATH, LARGE)
    steps: list[int] = []

    fetch(storage, target, on_progress=lambda: steps.append(1))

    assert len(steps) >= len(LARGE) // 65_536
