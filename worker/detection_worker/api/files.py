"""Downloads of S3 objects to temporary folders, and their removal."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import ProfileNotFound

from detection_contract import user_messages
from detection_contract.aws.s3_urls import InvalidS3Url, S3Location
from detection_contract.aws.s3_urls import parse_s3_url as parse_location
from detection_contract.error_codes import ErrorCode
from detection_contract.result_types import S3FileInfo
from detection_contract.results import s3_file_info
from detection_worker.aws_session import CALL_ERRORS, client, make_session
from detection_worker.config import load_settings
from detection_worker.core.batch.objects import S3Pattern, Selection, Skip, StoredObject
from detection_worker.errors import JobError
from detection_worker.pipeline.files.downloads import file_name, job_folder
from detection_worker.settings import Settings
from detection_worker.storage.base import FetchedObject
from detection_worker.storage.s3 import S3Storage
from detection_worker.storage.s3_errors import explain
from detection_worker.storage.s3_listing import S3Listing

READ_TIMEOUT_S = 10.0


class S3Files:
    """Parses S3 URLs and downloads objects to private temporary folders.

    Thread-safe. Close it, or use it in a ``with`` statement; both remove the downloads unless the
    setting ``cleanup_temp_files`` is off (default: on).

    Args:
        settings: AWS settings, folders and limits.

    Raises:
        JobError: ``CREDENTIALS``: the environment names a profile that does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        try:
            self._session = make_session(settings.aws)
        except ProfileNotFound as exc:
            missing = user_messages.NO_CREDENTIALS.partition("\n")[0]
            raise JobError(ErrorCode.CREDENTIALS, f"{missing} {exc}") from exc
        self._storage = S3Storage(
            self._session,
            settings.aws,
            expected_bucket_owner=settings.aws.expected_bucket_owner,
            allowed_buckets=frozenset(settings.aws.allowed_buckets),
        )
        self._folders: set[Path] = set()
        self._lock = threading.Lock()
        self._credentials = threading.Lock()
        self._no_credentials = False

    def is_s3_url(self, url: str) -> bool:
        """Return whether ``url`` is an S3 URL in any documented form; nothing is contacted."""
        try:
            self.locate(url)
        except JobError:
            return False
        return True

    def parse_s3_url(self, url: str) -> tuple[str, str]:
        """Return bucket and key of an S3 URL.

        Raises:
            JobError: ``BAD_URL``: it is not an S3 URL.
        """
        location = self.locate(url)
        return location.bucket, location.key

    def locate(self, url: str) -> S3Location:
        """Return bucket, key, version and region that an S3 URL names.

        Raises:
            JobError: ``BAD_URL``: it is not an S3 URL.
        """
        try:
            return parse_location(url, endpoint_hosts=self._settings.aws.endpoint_hosts)
        except InvalidS3Url as exc:
            raise JobError(ErrorCode.BAD_URL, str(exc)) from exc

    def download_file(self, url: str, local_path: str | Path | None = None) -> str:
        """Download an object and return the path of the file.

        Args:
            url: S3 URL in any documented form.
            local_path: Path to write to, which must not exist; the caller removes the file. None
                makes a private temporary folder, which ``cleanup`` removes.

        Returns:
            The path of the file.

        Raises:
            JobError: ``code`` is ``BAD_URL``, ``CREDENTIALS``, ``EMPTY_FILE``, ``TOO_LARGE`` or
                one of ``S3_NOT_FOUND``, ``S3_FORBIDDEN``, ``S3_NO_SUCH_BUCKET``,
                ``S3_UNAVAILABLE``.
        """
        if local_path is None:
            return str(self.fetch(url).path)
        return str(self._fetch(self.locate(url), Path(local_path)).path)

    def fetch(self, url: str, *, cancelled: Callable[[], bool] = lambda: False) -> FetchedObject:
        """Download an object to a private temporary folder.

        Args:
            url: S3 URL in any documented form.
            cancelled: Called several times a second; True stops the download.

        Returns:
            Path, size, content type, upload time and more.

        Raises:
            JobError: As for ``download_file``.
            Cancelled: ``cancelled`` returned True.
        """
        location = self.locate(url)
        self._check_credentials()
        folder = self._make_folder()
        try:
            return self._fetch(location, folder / file_name(location.key), cancelled=cancelled)
        except BaseException:
            self.cleanup(folder)
            raise

    def _fetch(
        self,
        location: S3Location,
        target: Path,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> FetchedObject:
        return self._storage.fetch(
            location,
            target,
            max_bytes=self._settings.limits.max_bytes,
            on_progress=lambda: None,
            cancelled=cancelled,
        )

    def _check_credentials(self) -> None:
        """Fail at once if an earlier search found no credentials.

        The search ends with a metadata service that may not answer, which takes seconds.
        """
        with self._credentials:
            if not self._no_credentials:
                try:
                    self._no_credentials = self._session.get_credentials() is None
                except CALL_ERRORS:
                    return  # the download meets the same error and explains it
            if self._no_credentials:
                raise JobError(
                    ErrorCode.CREDENTIALS, user_messages.NO_CREDENTIALS.partition("\n")[0]
                )

    def _make_folder(self) -> Path:
        try:
            folder = job_folder(self._settings.data.s3_cache_dir)
        except OSError as exc:
            raise JobError(
                ErrorCode.S3_UNAVAILABLE, f"no room for downloads: {exc.strerror}"
            ) from exc
        with self._lock:
            self._folders.add(folder)
        return folder

    def get_file_info(self, url: str) -> S3FileInfo:
        """Return ``size``, ``content_type`` and ``last_modified`` without a download.

        Args:
            url: S3 URL in any documented form.

        Raises:
            JobError: ``code`` is ``BAD_URL``, ``CREDENTIALS`` or one of ``S3_NOT_FOUND``,
                ``S3_FORBIDDEN``, ``S3_NO_SUCH_BUCKET``, ``S3_UNAVAILABLE``.
        """
        location = self.locate(url)
        aws = self._settings.aws
        region = None if aws.endpoint_url else location.region
        asked: dict[str, Any] = {"Bucket": location.bucket, "Key": location.key}
        if location.version_id:
            asked["VersionId"] = location.version_id
        s3 = client(self._session, "s3", aws, read_timeout_s=READ_TIMEOUT_S, region=region)
        try:
            head = s3.head_object(**asked)
        except CALL_ERRORS as exc:
            raise _as_job_error(exc, location) from exc
        finally:
            s3.close()
        return s3_file_info(head["ContentLength"], head.get("ContentType"), head["LastModified"])

    def objects(self, pattern: S3Pattern) -> Iterator[tuple[StoredObject, Skip | None]]:
        """Yield the objects that a prefix or a wildcard means, a page in memory at a time.

        Args:
            pattern: The objects; keys that it does not hold are left out.

        Yields:
            Each object, and why it is no media to analyse; None if it is.

        Raises:
            JobError: ``CREDENTIALS`` or one of ``S3_FORBIDDEN``, ``S3_NO_SUCH_BUCKET``,
                ``S3_UNAVAILABLE``.
        """
        self._check_credentials()
        listing = S3Listing(self._session, self._settings.aws)
        selection = Selection(within=pattern)
        try:
            for item in listing.objects(pattern.bucket, pattern.prefix):
                if pattern.holds(bucket=item.bucket, key=item.key):
                    yield item, selection.why_not(item)
        finally:
            listing.close()

    def cleanup(self, path: str | Path | None = None) -> None:
        """Remove downloads in temporary folders.

        Args:
            path: A downloaded file or its folder; None removes all. Other paths are ignored.
        """
        with self._lock:
            chosen = {
                f
                for f in self._folders
                if path is None or Path(path) == f or Path(path).parent == f
            }
            self._folders -= chosen
        for folder in chosen:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Close connections and, unless ``cleanup_temp_files`` is off, remove downloads."""
        if self._settings.data.cleanup_temp_files:
            self.cleanup()
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class S3FileHandler(S3Files):
    """``S3Files`` that reads its own settings.

    An argument that is None takes its value from the environment, the config file or the default,
    in this order; AWS keys from the config file, then from boto3's own chain.

    Args:
        aws_access_key_id: AWS access key; give both keys or none.
        aws_secret_access_key: Secret of the access key.
        aws_region: AWS region of buckets whose URL does not name one.
        aws_session_token: Session token of temporary keys.
        endpoint_url: http or https URL of an S3-compatible store.
        config: Path of a config file; the default is ``aws_config.json``, if it exists.

    Raises:
        UsageError: A setting is wrong, or the config file that was named does not exist.
        JobError: ``CREDENTIALS``: the environment names a profile that does not exist.
    """

    def __init__(
        self,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_region: str | None = None,
        *,
        aws_session_token: str | None = None,
        endpoint_url: str | None = None,
        config: str | Path | None = None,
    ) -> None:
        options: dict[str, object] = {
            "aws_access_key_id": aws_access_key_id,
            "aws_secret_access_key": aws_secret_access_key,
            "aws_region": aws_region,
            "aws_session_token": aws_session_token,
            "endpoint_url": endpoint_url,
            "config": config,
        }
        super().__init__(load_settings(options, os.environ, Path.cwd()).settings)


class PredictionContext:
    """Removes temporary files when the ``with`` statement ends, also after an error.

    Args:
        paths: Files and folders to remove.

    Attributes:
        paths: Files and folders to remove.
    """

    def __init__(self, *paths: str | Path) -> None:
        self.paths: list[Path] = [Path(p) for p in paths]

    def add(self, path: str | Path) -> Path:
        """Add a file or folder to remove, and return its path."""
        self.paths.append(Path(path))
        return self.paths[-1]

    def cleanup(self) -> None:
        """Remove all of them now; a path that does not exist is no error."""
        while self.paths:
            path = self.paths.pop()
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cleanup()


def _as_job_error(exc: Exception, location: S3Location) -> JobError:
    found = explain(exc, location)
    if isinstance(found, JobError):
        return found
    return JobError(ErrorCode.S3_UNAVAILABLE, str(found) or "S3 gave no answer")
