"""Whether an object is still the known one, on the strict local AWS and on moto."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.errors import Cancelled, JobError
from detection_worker.settings import MIB
from detection_worker.storage.base import FetchedObject, ObjectFacts
from detection_worker.storage.s3 import S3Storage
from detection_worker.storage.s3_ranges import Retries

BODY = os.urandom(10_000)


@pytest.fixture
def storage(cloud: Any) -> Iterator[S3Storage]:
    with closing(new_storage(cloud)) as made:
        yield made


@pytest.fixture
def strict(local: Any) -> Iterator[S3Storage]:
    with closing(new_storage(local)) as made:
        yield made


def new_storage(cloud: Any) -> S3Storage:
    return S3Storage(cloud.session, cloud.aws, retries=Retries(base_s=0.001))


def fetch(storage: S3Storage, location: S3Location, target: Path) -> ObjectFacts:
    found = storage.fetch(
        location,
        target,
        max_bytes=100 * MIB,
        on_progress=lambda: None,
        cancelled=lambda: False,
    )
    target.unlink()
    return found


def fetch_unless(
    storage: S3Storage,
    location: S3Location,
    known: ObjectFacts,
    target: Path,
    *,
    cancelled: bool = False,
) -> FetchedObject | None:
    return storage.fetch_unless(
        location,
        known,
        target,
        max_bytes=100 * MIB,
        on_progress=lambda: None,
        cancelled=lambda: cancelled,
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "object"


def gets(local_aws: LocalAws) -> int:
    return int(local_aws.stats()["requests"].get("s3.GetObject", 0))


def test_a_known_object_is_not_read(storage: S3Storage, cloud: Any, target: Path) -> None:
    where = cloud.put("a b/ä.png", BODY)
    known = fetch(storage, where, target)

    assert fetch_unless(storage, where, known, target) is None
    assert not target.exists()


def test_it_costs_one_call(
    strict: S3Storage, local: Any, local_aws: LocalAws, target: Path
) -> None:
    where = local.put("large", os.urandom(20 * MIB))
    known, before = fetch(strict, where, target), gets(local_aws)

    assert fetch_unless(strict, where, known, target) is None
    assert gets(local_aws) - before == 1


def test_another_object_costs_one_call_more_than_its_download(
    strict: S3Storage, local: Any, local_aws: LocalAws, target: Path
) -> None:
    where = local.put("k", BODY)
    known = fetch(strict, where, target)
    newer = os.urandom(20 * MIB)
    local.put("k", newer)
    before = gets(local_aws)

    found = fetch_unless(strict, where, known, target)

    assert found is not None
    assert (found.etag, found.size_bytes) == (hashlib.md5(newer).hexdigest(), len(newer))
    assert target.read_bytes() == newer
    assert gets(local_aws) - before == 1 + 3


def test_another_object_is_downloaded(storage: S3Storage, cloud: Any, target: Path) -> None:
    where = cloud.put("k", BODY)
    known = fetch(storage, where, target)
    cloud.put("k", b"newer", ContentType="image/png")

    found = fetch_unless(storage, where, known, target)

    assert found is not None
    assert (target.read_bytes(), found.content_type) == (b"newer", "image/png")


def test_the_same_etag_uploaded_at_another_time_is_another_object(
    strict: S3Storage, local: Any, target: Path
) -> None:
    # moto's 304 does not say when the object was uploaded.
    where = local.put("k", BODY)
    known = fetch(strict, where, target)
    assert known.last_modified is not None
    # What a file with the same MD5 would look like.
    older = replace(known, last_modified=known.last_modified - timedelta(seconds=1))

    found = fetch_unless(strict, where, older, target)

    assert found is not None
    assert target.read_bytes() == BODY
    assert (found.etag, found.last_modified) == (known.etag, known.last_modified)


@pytest.mark.parametrize(
    "etag", [None, "", "*", "0" * 32, "0" * 32 + "-2"], ids=lambda etag: etag or repr(etag)
)
def test_an_etag_that_is_not_the_objects_is_no_match(
    etag: str | None, storage: S3Storage, cloud: Any, target: Path
) -> None:
    where = cloud.put("k", BODY)
    known = ObjectFacts(
        size_bytes=1, content_type=None, last_modified=datetime(2026, 1, 1, tzinfo=UTC), etag=etag
    )

    assert fetch_unless(storage, where, known, target) is not None
    assert target.read_bytes() == BODY


def test_a_deleted_object_is_not_there(storage: S3Storage, cloud: Any, target: Path) -> None:
    where = cloud.put("k", BODY)
    known = fetch(storage, where, target)
    cloud.s3.delete_object(Bucket=cloud.bucket, Key="k")

    with pytest.raises(JobError) as caught:
        fetch_unless(storage, where, known, target)
    assert caught.value.code is ErrorCode.S3_NOT_FOUND
    assert not target.exists()


def test_a_version_is_known_until_it_is_deleted(
    storage: S3Storage, cloud: Any, target: Path
) -> None:
    cloud.s3.put_bucket_versioning(
        Bucket=cloud.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    first = cloud.s3.put_object(Bucket=cloud.bucket, Key="k", Body=BODY)["VersionId"]
    cloud.put("k", b"newer")
    where = S3Location(bucket=cloud.bucket, key="k", version_id=first)
    known = fetch(storage, where, target)

    assert fetch_unless(storage, where, known, target) is None

    cloud.s3.delete_object(Bucket=cloud.bucket, Key="k", VersionId=first)
    with pytest.raises(JobError) as caught:
        fetch_unless(storage, where, known, target)
    assert caught.value.code is ErrorCode.S3_NOT_FOUND


def test_what_may_not_be_read_any_more_is_refused(
    strict: S3Storage, local: Any, local_aws: LocalAws, target: Path
) -> None:
    where = local.put("k", BODY)
    known = fetch(strict, where, target)
    local_aws.inject(Fault(operation="s3.GetObject", kind="access_denied"))

    with pytest.raises(JobError) as caught:
        fetch_unless(strict, where, known, target)
    assert caught.value.code is ErrorCode.S3_FORBIDDEN


@pytest.mark.parametrize("kind", ["reset", "drop_response", "throttle"])
def test_interruptions_are_retried(
    kind: Any, strict: S3Storage, local: Any, local_aws: LocalAws, target: Path
) -> None:
    where = local.put("k", BODY)
    known = fetch(strict, where, target)
    local_aws.inject(Fault(operation="s3.GetObject", kind=kind, count=2))

    assert fetch_unless(strict, where, known, target) is None


def test_a_cancelled_job_asks_nothing(
    strict: S3Storage, local: Any, local_aws: LocalAws, target: Path
) -> None:
    where = local.put("k", BODY)
    known, before = fetch(strict, where, target), gets(local_aws)

    with pytest.raises(Cancelled):
        fetch_unless(strict, where, known, target, cancelled=True)
    assert gets(local_aws) == before
