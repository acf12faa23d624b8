"""Detection in local files and S3 objects; results are envelopes as in callbacks."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from detection_contract.media_types import MediaKind
from detection_contract.messages import DEFAULT_THRESHOLD
from detection_contract.result_types import DetectionResult
from detection_worker.api.batch import Batch, Needs, concluded
from detection_worker.api.evidence import EvidenceKind, draw, drawings_of
from detection_worker.api.files import S3Files
from detection_worker.api.inputs import LocalFile
from detection_worker.api.runner import FileRunner, closed
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.errors import Cancelled, UsageError
from detection_worker.media.values import MediaInfo
from detection_worker.report.cards import Cards
from detection_worker.report.page import result_page
from detection_worker.report.values import Drawing, Pictures
from detection_worker.report.view import NotesOf
from detection_worker.settings import Settings

log = logging.getLogger(__name__)


class Predictor:
    """Detects deepfakes in local files and S3 objects.

    Thread-safe: files of several threads are decoded in parallel and scored together. Decoding
    runs in child processes, so close it, or use it in a ``with`` statement.

    Args:
        settings: AWS settings, limits and models.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, which takes the GPU if there is one.
        threads: Threads of one forward pass; 0 leaves the number to torch.
        threshold: P(fake) from which the label is FAKE, in [0, 1], unless a call gives another.
        decoders: Files that ``predict_many`` decodes at once; 0 means one for each core.

    Raises:
        ValueError: The threshold is out of range.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        device: str = "auto",
        threads: int = 0,
        threshold: float = DEFAULT_THRESHOLD,
        decoders: int = 0,
    ) -> None:
        self._settings = settings
        self._threshold = _checked(threshold, "threshold")
        self._cards = Cards(settings.models_dir or bundled_models_dir())
        self._runner = FileRunner(settings, device=device, threads=threads, decoders=decoders)

    @property
    def files(self) -> S3Files:
        """The S3 client; made when first needed, so local files need no AWS."""
        return self._runner.files

    def load_models(self) -> list[str]:
        """Load the models of all kinds, where a file would load those that it needs.

        Returns:
            The media kinds that can be scored: ``image``, ``video``, ``audio``.

        Raises:
            UsageError: No model could be loaded, or the predictor is closed.
        """
        return self._runner.load_models()

    def predict_auto(
        self, path_or_url: str | Path, *, confidence_threshold: float | None = None
    ) -> DetectionResult:
        """Analyse a local file or an S3 object.

        Models are loaded if they are not loaded yet. A download is removed afterwards unless
        ``cleanup_temp_files`` is off; ``local_path`` of the result says where it was.

        Args:
            path_or_url: Path, or S3 URL in any documented form.
            confidence_threshold: P(fake) from which the label is FAKE, in [0, 1]. None takes the
                predictor's.

        Returns:
            The result envelope, with ``status`` ``finished``.

        Raises:
            JobError: The file cannot be fetched, decoded or scored; ``code`` and ``message`` say
                why.
            UsageError: No model could be loaded, or the predictor is closed.
            ValueError: The threshold is out of range.
        """
        threshold = self._chosen(confidence_threshold)
        started_s = time.perf_counter()
        file = self._runner.at_hand(path_or_url)
        try:
            task = self._runner.run(file, threshold)
            return concluded(
                file,
                task,
                started_s=started_s,
                trust_declared=self._settings.provenance.trust_declared,
            )
        except Cancelled as exc:
            raise closed() from exc
        finally:
            file.remove()

    def predict_many(
        self,
        paths_or_urls: Iterable[str | Path],
        *,
        confidence_threshold: float | None = None,
    ) -> Iterator[DetectionResult]:
        """Analyse many files and yield their result envelopes in the order of the inputs.

        Files are decoded in parallel and scored together. Inputs are read as they are needed and
        results are not kept, so memory does not grow with the number of files.

        Args:
            paths_or_urls: Paths, and S3 URLs in any documented form. ``s3://bucket/prefix/`` means
                every media object below, ``s3://bucket/dir/*.mp4`` those that match: ``*`` stands
                for any characters but ``/``, ``**`` for any.
            confidence_threshold: P(fake) from which the label is FAKE, in [0, 1]. None takes the
                predictor's.

        Yields:
            One result envelope for each file. A file that cannot be fetched, decoded or scored
            has ``status`` ``failed`` and ``error``, and does not stop the others.

        Raises:
            UsageError: No model could be loaded, or the predictor is closed.
            ValueError: The threshold is out of range.
            TypeError: A single path was given instead of several.
        """
        return _results(self.batch(paths_or_urls, confidence_threshold=confidence_threshold))

    def batch(
        self,
        paths_or_urls: Iterable[str | Path],
        *,
        confidence_threshold: float | None = None,
        pictures: bool = False,
    ) -> Batch:
        """Return the ``Batch`` behind ``predict_many``, for callers that poll with a timeout.

        Args:
            paths_or_urls: As for ``predict_many``.
            confidence_threshold: As for ``predict_many``.
            pictures: Keep pictures of each file for its page.

        Raises:
            ValueError: The threshold is out of range.
            TypeError: A single path was given instead of several.
        """
        if isinstance(paths_or_urls, str):  # every letter of it would be a path
            raise TypeError("give a list of paths, or use predict_auto for a single one")
        return Batch(
            paths_or_urls,
            Needs(
                start=self._runner.put,
                files=lambda: self.files,
                max_bytes=self._settings.limits.max_bytes,
                keep_downloads=not self._settings.data.cleanup_temp_files,
                trust_declared=self._settings.provenance.trust_declared,
                threshold=self._chosen(confidence_threshold),
                pictures=pictures,
            ),
        )

    def evidence(self, path_or_url: str | Path, *, kind: EvidenceKind = "patches") -> bytes:
        """Return a PNG of a still image with the evidence for its score in red.

        Args:
            path_or_url: Path, or S3 URL in any documented form.
            kind: ``patches`` draws the score of each part of the image, ``saliency`` the pixels
                that change the score most.

        Returns:
            The bytes of the PNG; its longer side has at most 1600 pixels.

        Raises:
            JobError: The file cannot be fetched, decoded or scored.
            UsageError: It is not a still image, its model does not use crops, or the predictor is
                closed.
        """
        file = self._runner.at_hand(path_or_url)
        try:
            info = self._runner.run(file, self._threshold).conclude().info
            return self._runner.draw(file, info, partial(draw, kind=kind))
        except Cancelled as exc:
            raise closed() from exc
        finally:
            file.remove()

    def report(
        self, path_or_url: str | Path, *, confidence_threshold: float | None = None
    ) -> tuple[DetectionResult, str]:
        """Analyse a file; return its result, and a human-readable page about it.

        Args:
            path_or_url: As for ``predict_auto``.
            confidence_threshold: As for ``predict_auto``.

        Returns:
            The result envelope, and one HTML file that needs nothing else.

        Raises:
            JobError: As from ``predict_auto``.
            UsageError: As from ``predict_auto``.
            ValueError: As from ``predict_auto``.
        """
        threshold = self._chosen(confidence_threshold)
        result, pictures = self.seen(path_or_url, threshold=threshold)
        return result, result_page(result, pictures, notes=self.notes)

    def seen(
        self, path_or_url: str | Path, *, threshold: float
    ) -> tuple[DetectionResult, Pictures]:
        """Analyse a file; return its result, and pictures of it; raises as ``report``."""
        started_s = time.perf_counter()
        file = self._runner.at_hand(path_or_url)
        try:
            task = self._runner.run(file, threshold, previews=True)
            trusting = self._settings.provenance.trust_declared
            result = concluded(file, task, started_s=started_s, trust_declared=trusting)
            drawings = self._drawings(file, task.info)
        except Cancelled as exc:
            raise closed() from exc
        finally:
            file.remove()
        return result, replace(task.pictures, drawings=drawings)

    def drawings(self, path_or_url: str | Path) -> tuple[Drawing, ...]:
        """Return the evidence over a whole still image for its page; none if there is none."""
        file = self._runner.at_hand(path_or_url)
        try:
            return self._drawings(file, self._runner.run(file, self._threshold).conclude().info)
        except Cancelled as exc:
            raise closed() from exc
        finally:
            file.remove()

    @property
    def notes(self) -> NotesOf:
        """What the cards of the models warn of, for pages."""
        return self._cards.notes

    def _drawings(self, file: LocalFile, info: MediaInfo | None) -> tuple[Drawing, ...]:
        if info is None or info.kind is not MediaKind.IMAGE:
            return ()
        try:
            return self._runner.draw(file, info, drawings_of)
        except UsageError:  # a model that does not look at crops
            return ()

    def close(self) -> None:
        """Stop decoding and, unless ``cleanup_temp_files`` is off, remove downloads."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _chosen(self, threshold: float | None) -> float:
        return (
            self._threshold if threshold is None else _checked(threshold, "confidence_threshold")
        )


def _results(batch: Batch) -> Iterator[DetectionResult]:
    with batch:
        yield from batch


def _checked(threshold: float, name: str) -> float:
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"{name} is {threshold}, not 0 to 1")
    return threshold
