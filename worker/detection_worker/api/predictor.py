"""One file after another, local or in S3, to result envelopes."""

import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from detection_contract import texts
from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_contract.results import finished_result, s3_file_info
from detection_worker.api.evidence import EvidenceKind, draw
from detection_worker.api.files import PredictionContext, S3Files
from detection_worker.config import consumer_value, load_settings
from detection_worker.detectors.registry import (
    LoadedDetectors,
    bundled_models_dir,
    load_detectors,
)
from detection_worker.errors import JobError, UsageError
from detection_worker.media.pool import ProcessDecoder
from detection_worker.pipeline.analyzer import Analyzer
from detection_worker.pipeline.reports import opinion_of, tracks_of
from detection_worker.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """A file that is on this machine now, and what the result says of its origin."""

    path: Path
    name: str
    s3_url: str | None
    file_info: dict[str, object] | None
    download_ms: float | None


class Predictor:
    """Detects deepfakes in local files and S3 objects.

    Thread-safe; files are analysed one at a time. Close it, or use it in a ``with`` statement:
    decoding runs in a child process.

    Args:
        settings: Of the process.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the GPU if there is one.
        threads: Of one forward pass; 0 leaves it to torch.
    """

    def __init__(self, settings: Settings, *, device: str = "auto", threads: int = 0) -> None:
        self._settings = settings
        self._device = device
        self._threads = threads
        self._decoder = ProcessDecoder(1)
        self._loaded: LoadedDetectors | None = None
        self._analyzer: Analyzer | None = None
        self._files: S3Files | None = None
        self._one_at_a_time = threading.RLock()

    @property
    def files(self) -> S3Files:
        """What fetches S3 objects; made when first needed, so local files need no AWS."""
        with self._one_at_a_time:
            if self._files is None:
                self._files = S3Files(self._settings)
            return self._files

    def load_models(self) -> list[str]:
        """Load the detectors, once, and return the media kinds that they can score.

        Raises:
            UsageError: No model could be loaded.
        """
        with self._one_at_a_time:
            if self._loaded is None:
                self._decoder.start()
                self._loaded = load_detectors(
                    self._settings.models_dir or bundled_models_dir(),
                    device=_device(self._device),
                    threads=self._threads,
                    prefer=self._settings.models_prefer,
                )
                for problem in self._loaded.problems:
                    log.warning("model not loaded: %s", problem)
                self._analyzer = Analyzer(
                    self._decoder,
                    self._loaded.by_kind,
                    self._settings.limits,
                    video_audio=self._settings.video_audio,
                )
            kinds = [kind.value for kind in self._loaded.by_kind]
        log.info(texts.LOG_LOADED.format(kinds=kinds))
        return kinds

    def predict_auto(
        self, path_or_url: str | Path, *, confidence_threshold: float = 0.5
    ) -> dict[str, object]:
        """Analyse a local file or an S3 object and return its result envelope.

        Models are loaded if they are not yet. A downloaded file is removed again unless
        ``cleanup_temp_files`` is off; ``local_path`` then says where it was.

        Args:
            path_or_url: Path, or S3 URL in any documented form.
            confidence_threshold: In [0, 1]; at or above it a file is FAKE.

        Raises:
            JobError: The file cannot be fetched, decoded or scored; says why.
            UsageError: No model could be loaded.
            ValueError: The threshold is out of range.
        """
        if not 0.0 <= confidence_threshold <= 1.0:
            raise ValueError(f"confidence_threshold is {confidence_threshold}, not 0 to 1")
        started_s = time.perf_counter()
        with self._one_at_a_time, PredictionContext() as temporary:
            self.load_models()
            local = self._at_hand(path_or_url, temporary)
            return self._result(local, confidence_threshold, started_s=started_s)

    def evidence(self, path_or_url: str | Path, *, kind: EvidenceKind = "patches") -> bytes:
        """Return a PNG of a still image with what its score rests on, in red.

        Args:
            path_or_url: As for ``predict_auto``.
            kind: See ``evidence.draw``.

        Raises:
            JobError: The file cannot be fetched, decoded or scored.
            UsageError: It is no still image, or its model does not look at crops.
        """
        with self._one_at_a_time, PredictionContext() as temporary:
            self.load_models()
            if self._analyzer is None or self._loaded is None:
                raise UsageError("The predictor is closed\nMake a new one.")
            local = self._at_hand(path_or_url, temporary)
            found, _ = self._analyzer.analyse(local.path, name=local.name, threshold=0.5)
            info = found.info
            if info.kind is not MediaKind.IMAGE or info.width is None or info.height is None:
                raise UsageError(
                    f"Not a still image: {local.name}\nEvidence is drawn over images."
                )
            size_px = (info.width, info.height)
            pixels = self._analyzer.picture(local.path, name=local.name, size_px=size_px)
            return draw(self._loaded.by_kind[MediaKind.IMAGE], pixels, kind=kind)

    def _at_hand(self, path_or_url: str | Path, temporary: PredictionContext) -> _Local:
        text = str(path_or_url)
        if isinstance(path_or_url, str) and "://" in text:
            return self._fetched(text, temporary)
        path = Path(os.path.expanduser(text))  # noqa: PTH111 - leaves an unknown ~name as it is
        self._check_file(path)
        return _Local(path=path, name=text, s3_url=None, file_info=None, download_ms=None)

    def _fetched(self, url: str, temporary: PredictionContext) -> _Local:
        started_s = time.perf_counter()
        fetched = self.files.fetch(url)
        if self._settings.data.cleanup_temp_files:
            temporary.add(fetched.path.parent)
        return _Local(
            path=fetched.path,
            name=self.files.locate(url).key,
            s3_url=url,
            file_info=s3_file_info(
                fetched.size_bytes, fetched.content_type, fetched.last_modified
            ),
            download_ms=(time.perf_counter() - started_s) * 1000,
        )

    def _check_file(self, path: Path) -> None:
        try:
            self._check_readable(path)
        except OSError as exc:
            # A name that is too long, a folder that may not be searched, a disk that fails.
            raise JobError(
                ErrorCode.BAD_URL, f"The file cannot be opened ({exc.strerror}): {path}"
            ) from exc

    def _check_readable(self, path: Path) -> None:
        if not path.exists():
            raise JobError(ErrorCode.BAD_URL, f"File not found: {path}")
        if not path.is_file():
            raise JobError(ErrorCode.UNSUPPORTED_TYPE, f"Not a regular file: {path}")
        size_bytes, limit_bytes = path.stat().st_size, self._settings.limits.max_bytes
        if size_bytes == 0:
            raise JobError(ErrorCode.EMPTY_FILE, f"The file is empty: {path}")
        if size_bytes > limit_bytes:
            raise JobError(
                ErrorCode.TOO_LARGE,
                f"The file has {size_bytes} bytes, {limit_bytes} are allowed: {path}",
            )
        if not os.access(path, os.R_OK):
            raise JobError(ErrorCode.BAD_URL, f"No permission to read the file: {path}")

    def _result(self, local: _Local, threshold: float, *, started_s: float) -> dict[str, object]:
        if self._analyzer is None:
            raise UsageError("The predictor is closed\nMake a new one.")
        found, timings_ms = self._analyzer.analyse(
            local.path, name=local.name, threshold=threshold
        )
        if local.download_ms is not None:
            timings_ms = {"download": local.download_ms, **timings_ms}
        total_ms = (time.perf_counter() - started_s) * 1000
        return finished_result(
            request_id=str(uuid.uuid4()),
            sqs_to_ml_url=local.s3_url,
            file_path=local.s3_url or str(local.path),
            local_path=str(local.path),
            file_type=found.info.kind,
            opinion=opinion_of(found),
            threshold=threshold,
            is_s3_file=local.s3_url is not None,
            queue_url=None,
            s3_file_info=local.file_info,
            processed_at=datetime.now(tz=UTC),
            original_message=None,
            metadata=None,
            model=found.model,
            timings_ms={k: round(v, 3) for k, v in {**timings_ms, "total": total_ms}.items()},
            segments=found.segments,
            media=found.media,
            tracks=tracks_of(found),
        )

    def close(self) -> None:
        """Stop decoding, remove downloads if the settings say so."""
        with self._one_at_a_time:
            self._analyzer = None
            self._decoder.close()
            if self._files is not None:
                self._files.close()
                self._files = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class EnhancedDeepfakePredictor(Predictor):
    """A ``Predictor`` that reads its own settings.

    Args:
        aws_access_key_id: Like every argument: None takes config file, environment or default.
        aws_secret_access_key: Of that key.
        aws_region: Of buckets whose URL names none.
        aws_session_token: Of temporary keys.
        models_dir: Folder of detectors; by default those that ship with the package.
        config: Path of a config file.
        endpoint_url: Of an S3-compatible store.

    Raises:
        UsageError: A setting is wrong.
    """

    def __init__(
        self,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_region: str | None = None,
        *,
        aws_session_token: str | None = None,
        models_dir: str | Path | None = None,
        config: str | Path | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        options: dict[str, object] = {
            "aws_access_key_id": aws_access_key_id,
            "aws_secret_access_key": aws_secret_access_key,
            "aws_region": aws_region,
            "aws_session_token": aws_session_token,
            "models_dir": models_dir,
            "config": config,
            "endpoint_url": endpoint_url,
        }
        super().__init__(
            load_settings(options, os.environ, Path.cwd()).settings,
            device=str(consumer_value("device", {}, os.environ)),
        )


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import torch  # noqa: PLC0415 - takes seconds; only whoever scores pays for it

    return "cuda" if torch.cuda.is_available() else "cpu"
