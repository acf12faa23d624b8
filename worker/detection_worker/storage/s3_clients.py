"""One S3 client for each region that messages name."""

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.exceptions import UnknownRegionError

from detection_contract import user_messages
from detection_contract.error_codes import ErrorCode
from detection_worker import aws_session
from detection_worker.errors import JobError
from detection_worker.settings import AwsSettings
from detection_worker.storage.s3_quick import QuickCalls

POOL: Final = 32
"""Connections kept for each region: all downloading threads and the helpers of large objects."""
MAX_REGIONS: Final = 32
"""A client costs megabytes; messages may name any region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A region's client, and small calls by its connections."""

    client: Any
    quick: QuickCalls


class RegionClients:
    """Clients by region, made when first asked for. Thread-safe.

    Args:
        session: Session from ``aws_session.make_session``.
        aws: Region of buckets whose URL does not name one, and the endpoint.
        read_timeout_s: Longest pause between two reads of a connection.
        expected_bucket_owner: Account that must own the bucket.
    """

    def __init__(
        self,
        session: boto3.Session,
        aws: AwsSettings,
        *,
        read_timeout_s: float,
        expected_bucket_owner: str | None,
    ) -> None:
        self._session = session
        self._aws = aws
        self._read_timeout_s = read_timeout_s
        self._owner = expected_bucket_owner
        self._by_region: dict[str, Connected] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        for connected in self._by_region.values():
            connected.client.close()

    def of(self, region: str | None) -> Connected:
        """Return the client of a region; None means the worker's own.

        Raises:
            JobError: ``S3_FORBIDDEN``: the region is in another partition.
        """
        # botocore follows redirects of S3 to another region, and remembers it for each bucket.
        wanted = self._aws.region if region is None or self._aws.endpoint_url else region
        with self._lock:
            if wanted not in self._by_region:
                if len(self._by_region) >= MAX_REGIONS:
                    wanted = self._aws.region
                self._check_partition(wanted)
                self._by_region.setdefault(wanted, self._connect(wanted))
            return self._by_region[wanted]

    def _connect(self, region: str) -> Connected:
        # RangeReader retries itself: it resumes within a body and can be cancelled.
        client = aws_session.client(
            self._session,
            "s3",
            self._aws,
            read_timeout_s=self._read_timeout_s,
            pool=POOL,
            attempts=1,
            region=region,
        )
        quick = QuickCalls(self._session, client, expected_bucket_owner=self._owner)
        return Connected(client=client, quick=quick)

    def _check_partition(self, region: str) -> None:
        """Refuse a region of another partition, which would call the credentials wrong."""
        if region == self._aws.region:
            return
        with suppress(UnknownRegionError):
            theirs = self._session.get_partition_for_region(region)
            if theirs != self._session.get_partition_for_region(self._aws.region):
                denied = user_messages.ACCESS_DENIED.partition("\n")[0]
                raise JobError(
                    ErrorCode.S3_FORBIDDEN,
                    f"{denied} (region {region} is in the partition {theirs}, "
                    f"the worker in that of {self._aws.region})",
                )
