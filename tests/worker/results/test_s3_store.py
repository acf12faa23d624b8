"""The store of results on the strict local AWS and on moto."""

import io
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

from detection_contract.aws.s3_prefixes import S3PrefixLocation
from detection_contract.aws.s3_urls import S3Location, parse_s3_url
from detection_contract.error_codes import Disposition, ErrorCode
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.errors import JobError
from detection_worker.results.base import ResultId, StoredResult
from detection_worker.results.s3_store import S3ResultStore
from detection_worker.storage.s3 import S3Storage
from detection_worker.storage.s3_quick import Place

BODY = '{"request_id":"req-1","label":"FAKE","é":1}'.encode()
RESULT = ResultId(
    request_id="req-1",
    message_id="00000000-0000-4000-8000-000000000001",
    index=0,
    sent_at_s=1_764_547_199.0,
    media=S3Location(bucket="media", key="a/clip.mp4"),
)
KEY = "out/2025/11/30/req-1.json"


_known = False
"""Whether botocore has asked for the bucket before, so that writes are signed by the worker."""


@pytest.fixture(autouse=True, params=[False, True], ids=["new bucket", "known bucket"])
def known(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    value: bool = request.param
    monkeypatch.setitem(globals(), "_known", value)
    return value


@contextmanager
def store_in(cloud: Any, bucket: str, **options: Any) -> Iterator[S3ResultStore]:
    prefix = S3PrefixLocation(bucket=bucket, prefix="out/")
    with closing(S3ResultStore(cloud.session, cloud.aws, prefix=prefix, **options)) as made:
        if _known:
            base = f"{cloud.aws.endpoint_url}/{bucket}"
            place = Place(base=base, region=cloud.aws.region, user_agent="worker")
            made._quick._places[bucket] = place
        yield made


@pytest.fixture
def bucket(cloud: Any) -> str:
    name: str = cloud.bucket()
    return name


@pytest.fixture
def store(cloud: Any, bucket: str) -> Iterator[S3ResultStore]:
    with store_in(cloud, bucket) as made:
        yield made


def test_a_stored_result_is_known_by_its_metadata(
    cloud: Any, bucket: str, store: S3ResultStore, tmp_path: Path
) -> None:
    store.put(RESULT, BODY)
    cloud.client("s3").put_object(Bucket=bucket, Key="media", Body=BODY, Metadata={"a": "b"})

    def is_result(storage: S3Storage, key: str) -> bool:
        return storage.fetch(
            S3Location(bucket=bucket, key=key),
            tmp_path / uuid.uuid4().hex,
            max_bytes=1000,
            on_progress=lambda: None,
            cancelled=lambda: False,
        ).is_result

    with closing(S3Storage(cloud.session, cloud.aws)) as storage:
        # The first read is botocore's, the later ones are signed by the worker.
        assert [is_result(storage, key) for key in (KEY, "media") * 2] == [True, False] * 2


def test_a_stored_result_is_found_by_another_delivery(
    cloud: Any, bucket: str, store: S3ResultStore
) -> None:
    assert store.find(RESULT) is None

    stored = store.put(RESULT, BODY)

    assert stored == StoredResult(url=f"s3://{bucket}/{KEY}", body=BODY)
    with store_in(cloud, bucket) as other:
        assert other.find(RESULT) == stored


def test_what_s3_is_told_of_a_result(cloud: Any, bucket: str, store: S3ResultStore) -> None:
    location = parse_s3_url(store.put(RESULT, BODY).url)

    head = cloud.client("s3").head_object(Bucket=bucket, Key=location.key, ChecksumMode="ENABLED")

    assert location.key == KEY
    assert head["ContentType"] == "application/json"
    assert head["ChecksumSHA256"] == "GHgLjVC+g6sqdVQ2p8fuYnhdjwCCO8dZAJqp09NFaVg="
    assert head["Metadata"] == {
        "detection-message-id": RESULT.message_id,
        "detection-index": "0",
        "detection-sha256": "18780b8d50be83ab2a755436a7c7ee62785d8f00823bc759009aa9d3d3456958",
    }


def test_of_two_deliveries_of_a_message_the_first_to_store_is_kept(
    store: S3ResultStore,
) -> None:
    first = store.put(RESULT, BODY)

    assert store.put(RESULT, b'{"label":"REAL"}') == first
    assert store.find(RESULT) == first


def test_many_workers_that_finish_one_message_report_the_same_bytes(
    cloud: Any, bucket: str
) -> None:
    reported: list[bytes] = []
    start = threading.Barrier(6)

    def finish(number: int) -> None:
        with store_in(cloud, bucket) as store:
            start.wait()
            reported.append(store.put(RESULT, b'{"by":%d}' % number).body)

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    kept = cloud.client("s3").get_object(Bucket=bucket, Key=KEY)["Body"].read()
    assert reported == [kept] * 6


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"message_id": "another"}, id="message"),
        pytest.param({"index": 1}, id="file of the message"),
    ],
)
def test_a_result_of_another_message_with_the_same_request_id_is_replaced(
    store: S3ResultStore, other: dict[str, Any]
) -> None:
    store.put(RESULT, BODY)
    second = replace(RESULT, **other)

    assert store.find(second) is None
    assert store.put(second, b"{}").body == b"{}"
    assert store.find(RESULT) is None
    found = store.find(second)
    assert found is not None
    assert found.body == b"{}"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda put, metadata: put(Body=BODY), id="written by another program"),
        pytest.param(
            lambda put, metadata: put(Body=BODY[:-1], Metadata=metadata), id="cut after writing"
        ),
        pytest.param(lambda put, metadata: put(Body=b"", Metadata=metadata), id="emptied"),
        pytest.param(
            lambda put, metadata: put(
                Body=BODY, Metadata={k: v for k, v in metadata.items() if "sha256" not in k}
            ),
            id="without a digest",
        ),
    ],
)
def test_a_damaged_or_foreign_object_is_no_result_and_is_replaced(
    cloud: Any, bucket: str, store: S3ResultStore, spoil: Callable[..., Any]
) -> None:
    store.put(RESULT, BODY)
    s3 = cloud.client("s3")
    metadata = s3.head_object(Bucket=bucket, Key=KEY)["Metadata"]
    spoil(lambda **rest: s3.put_object(Bucket=bucket, Key=KEY, **rest), metadata)

    assert store.find(RESULT) is None
    assert store.put(RESULT, b"{}").body == b"{}"
    found = store.find(RESULT)
    assert found is not None
    assert found.body == b"{}"


def test_odd_ids_are_stored_and_found(store: S3ResultStore) -> None:
    odd = replace(RESULT, request_id="../ä/" + "\U0001f600" * 250, message_id="m/ü", index=7)

    stored = store.put(odd, BODY)

    assert stored.url.isascii()
    assert store.find(odd) == stored


def test_a_bucket_with_versions_keeps_what_is_replaced(cloud: Any, bucket: str) -> None:
    s3 = cloud.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with store_in(cloud, bucket) as store:
        first = s3.put_object(Bucket=bucket, Key=KEY, Body=b"old")["VersionId"]

        store.put(RESULT, BODY)

        assert store.find(RESULT) is not None
    old = s3.get_object(Bucket=bucket, Key=KEY, VersionId=first)["Body"].read()
    assert old == b"old"


def test_objects_under_object_lock_get_a_newer_version(moto: Any) -> None:
    s3, bucket = moto.client("s3"), f"locked-{moto.tag}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    other = replace(RESULT, message_id="another")
    with store_in(moto, bucket) as store:
        store.put(RESULT, BODY)
        store.put(other, b"{}")

        assert store.find(other) is not None
    versions = s3.list_object_versions(Bucket=bucket, Prefix=KEY)["Versions"]
    assert len(versions) == 2


def test_results_are_encrypted_with_the_key_that_is_named(moto: Any) -> None:
    key = moto.client("kms").create_key()["KeyMetadata"]["Arn"]
    bucket = moto.bucket()
    with store_in(moto, bucket, kms_key_id=key) as store:
        store.put(RESULT, BODY)

    head = moto.client("s3").head_object(Bucket=bucket, Key=KEY)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)


@pytest.fixture
def local_bucket(local: Any) -> str:
    name: str = local.bucket()
    return name


def refused(call: Callable[[], object]) -> JobError:
    with pytest.raises(JobError) as caught:
        call()
    assert caught.value.code is ErrorCode.RESULT_NOT_STORED
    assert caught.value.disposition is Disposition.RETRY
    assert "\n" not in caught.value.message
    return caught.value


def fault(code: str, status: int) -> Fault:
    return Fault(operation="s3.*", kind="error", code=code, status=status)


@pytest.mark.parametrize("call", ["put", "find"])
@pytest.mark.parametrize(
    ("injected", "words", "environment"),
    [
        (fault("AccessDenied", 403), "Access Denied in bucket", True),
        (fault("NoSuchBucket", 404), "does not exist: results-", True),
        (fault("KMS.DisabledException", 400), "the bucket's KMS key cannot be used", True),
        (fault("KMS.NotFoundException", 400), "the bucket's KMS key cannot be used", True),
        (fault("KMS.ThrottlingException", 400), "S3 answered 400 (Throttling)", False),
        (fault("AuthorizationHeaderMalformed", 400), "in another region", True),
        (fault("ExpiredToken", 400), "AWS credentials do not work: ExpiredToken", True),
        (fault("InvalidAccessKeyId", 403), "do not work: InvalidAccessKeyId", True),
        (fault("RequestTimeTooSkewed", 403), "The clock of this machine differs", True),
        (fault("SlowDown", 503), "S3 answered 503 (SlowDown)", False),
        (fault("InternalError", 500), "S3 answered 500 (InternalError)", False),
        (fault("XMinioStorageFull", 507), "S3 answered 507 (XMinioStorageFull)", True),
        (fault("ServerSideEncryptionConfigurationNotFoundError", 400), "S3 refuses it", True),
        (Fault(operation="s3.*", kind="reset"), "S3 cannot be reached", False),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_a_failure_is_explained_and_says_whether_it_would_meet_every_result(
    local_aws: LocalAws,
    local: Any,
    local_bucket: str,
    injected: Fault,
    words: str,
    environment: bool,  # noqa: FBT001 - a column of the table
    call: str,
) -> None:
    denied = injected.code == "AccessDenied"
    with store_in(local, local_bucket) as store:
        local_aws.inject(injected)
        if denied and call == "find":
            assert store.find(RESULT) is None
            return
        error = refused(lambda: store.put(RESULT, BODY) if call == "put" else store.find(RESULT))

    assert words in error.message
    assert error.environment is environment


def test_an_object_that_s3_refuses_for_itself_says_nothing_about_others(
    local_aws: LocalAws, local: Any, local_bucket: str
) -> None:
    with store_in(local, local_bucket) as store:
        local_aws.inject(fault("KeyTooLongError", 400))
        error = refused(lambda: store.put(RESULT, BODY))

    assert not error.environment


def test_an_endpoint_that_nobody_listens_on_meets_every_result(local: Any) -> None:
    aws = replace(local.aws, endpoint_url="http://127.0.0.1:9")
    prefix = S3PrefixLocation(bucket="results", prefix="")
    with closing(S3ResultStore(local.session, aws, prefix=prefix)) as store:
        assert refused(lambda: store.put(RESULT, BODY)).environment


def test_a_bucket_of_another_account_is_refused_by_its_owner(
    local: Any, local_bucket: str
) -> None:
    with store_in(local, local_bucket, bucket_owner="999999999999") as store:
        error = refused(lambda: store.put(RESULT, BODY))

    assert error.environment
    assert "belongs to account 999999999999, as --results-bucket-owner says" in error.message


def test_a_missing_bucket_is_named_by_put_and_find(cloud: Any) -> None:
    with store_in(cloud, f"missing-{cloud.tag}") as store:
        for call in (lambda: store.put(RESULT, BODY), lambda: store.find(RESULT)):
            assert f"S3 bucket does not exist: missing-{cloud.tag}" in refused(call).message


def test_a_read_that_is_denied_finds_nothing_and_is_told_once(
    local_aws: LocalAws, local: Any, local_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without s3:ListBucket S3 answers 403 for what does not exist."""
    local_aws.inject(Fault(operation="s3.GetObject", kind="access_denied"))
    with store_in(local, local_bucket) as store, caplog.at_level(logging.WARNING):
        assert [store.find(RESULT), store.find(RESULT)] == [None, None]

    [record] = caplog.records
    assert "allow s3:GetObject" in record.message


def test_without_the_right_to_read_the_newest_result_is_kept(
    local_aws: LocalAws, local: Any, local_bucket: str
) -> None:
    with store_in(local, local_bucket) as store:
        store.put(RESULT, BODY)
        local_aws.inject(Fault(operation="s3.GetObject", kind="access_denied"))

        assert store.put(replace(RESULT, message_id="m2"), b"{}").body == b"{}"


def test_a_write_whose_answer_is_lost_is_taken_for_its_own(
    local_aws: LocalAws, local: Any, local_bucket: str
) -> None:
    """botocore writes again, and finds the object there."""
    local_aws.inject(Fault(operation="s3.PutObject", kind="drop_response", count=1))
    with store_in(local, local_bucket) as store:
        assert store.put(RESULT, BODY).body == BODY


def test_throttling_and_resets_that_pass_are_not_noticed(
    local_aws: LocalAws, local: Any, local_bucket: str
) -> None:
    local_aws.inject(Fault(operation="s3.PutObject", kind="throttle", count=1))
    local_aws.inject(Fault(operation="s3.PutObject", kind="reset", count=1))
    local_aws.inject(Fault(operation="s3.GetObject", kind="error", status=500, count=2))
    with store_in(local, local_bucket) as store:
        stored = store.put(RESULT, BODY)
        assert store.find(RESULT) == stored


def test_a_body_that_breaks_off_is_an_error_and_not_an_absent_result(
    local_aws: LocalAws, local: Any, local_bucket: str
) -> None:
    with store_in(local, local_bucket) as store:
        store.put(RESULT, BODY)
        local_aws.inject(Fault(operation="s3.GetObject", kind="truncate"))

        assert "S3 cannot be reached" in refused(lambda: store.find(RESULT)).message


def test_a_store_that_knows_no_conditions_is_written_to_without_them(
    local_aws: LocalAws,
    local: Any,
    local_bucket: str,
    known: bool,  # noqa: FBT001 - a fixture
) -> None:
    fault = Fault(operation="s3.PutObject", kind="error", code="NotImplemented", status=501)
    local_aws.inject(replace(fault, count=1 + known))
    with store_in(local, local_bucket) as store:
        stored = store.put(RESULT, BODY)

        assert store.find(RESULT) == stored
        assert store.put(RESULT, b"{}").body == b"{}"


def test_a_lock_that_another_write_holds_is_waited_for(
    local_aws: LocalAws, local: Any, local_bucket: str
) -> None:
    """409 ConditionalRequestConflict: two conditional writes at once; S3 asks to try again."""
    local_aws.inject(
        Fault(
            operation="s3.PutObject",
            kind="error",
            code="ConditionalRequestConflict",
            status=409,
            count=1,
        )
    )
    with store_in(local, local_bucket) as store:
        assert store.put(RESULT, BODY).body == BODY
        assert store.find(RESULT) is not None


def test_a_bucket_of_another_region_is_followed_there(local: Any) -> None:
    """As Amazon S3 answers: 301, 400 or 307 with the bucket's region in a header."""
    aws = replace(local.aws, endpoint_url=None)
    place = S3PrefixLocation(bucket="far", prefix="")
    hosts: list[str] = []

    def answer(request: Any) -> AWSResponse:
        hosts.append(urlsplit(request.url).netloc)
        here = "eu-west-1" in hosts[-1]
        headers = {"x-amz-bucket-region": "eu-west-1"}
        error = b"<Error><Code>PermanentRedirect</Code><Message>m</Message></Error>"
        raw = HTTPResponse(body=io.BytesIO(b"" if here else error), preload_content=False)
        return AWSResponse(request.url, 200 if here else 301, headers, raw)

    with closing(S3ResultStore(local.session, aws, prefix=place)) as store:
        store._client._endpoint.http_session.send = answer
        for _ in range(2):
            store.put(RESULT, BODY)

    assert hosts == [
        "far.s3.amazonaws.com",
        *["far.s3.eu-west-1.amazonaws.com"] * 2,
    ]


# -- pages -------------------------------------------------------------------------------------

PAGE = "<!DOCTYPE html><p>ü".encode()


def test_a_page_lies_beside_its_result_and_is_no_work(
    cloud: Any, bucket: str, store: S3ResultStore, tmp_path: Path
) -> None:
    store.put(RESULT, BODY)
    store.put_page(RESULT, PAGE, only_if_missing=False)

    found = cloud.client("s3").get_object(Bucket=bucket, Key="out/2025/11/30/req-1.html")
    assert found["Body"].read() == PAGE
    assert found["ContentType"] == "text/html; charset=utf-8"
    assert store.find(RESULT) == StoredResult(url=f"s3://{bucket}/{KEY}", body=BODY)
    with closing(S3Storage(cloud.session, cloud.aws)) as storage:
        location = S3Location(bucket=bucket, key="out/2025/11/30/req-1.html")
        fetched = storage.fetch(
            location,
            target=tmp_path / "page",
            max_bytes=1 << 20,
            on_progress=lambda: None,
            cancelled=lambda: False,
        )
    assert fetched.is_result


def test_a_page_that_is_there_is_replaced_only_by_the_one_with_its_pictures(
    cloud: Any, bucket: str, store: S3ResultStore
) -> None:
    def page() -> bytes:
        key = "out/2025/11/30/req-1.html"
        body: bytes = cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    store.put_page(RESULT, b"poor", only_if_missing=True)
    assert page() == b"poor"
    store.put_page(RESULT, PAGE, only_if_missing=False)
    assert page() == PAGE
    store.put_page(RESULT, b"poor", only_if_missing=True)
    assert page() == PAGE


def test_a_page_that_is_refused_says_why(cloud: Any) -> None:
    with (
        store_in(cloud, "no-such-bucket-of-pages") as store,
        pytest.raises(JobError, match="no-such-bucket-of-pages") as caught,
    ):
        store.put_page(RESULT, PAGE, only_if_missing=False)
    assert caught.value.code is ErrorCode.RESULT_NOT_STORED
