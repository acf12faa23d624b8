"""The stored envelope of a finished job: written once, found again by another worker; its page."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.messages.outcome import Failure
from detection_worker.errors import JobError
from detection_worker.metrics import trace_exemplar
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.messages.log import log_bug, log_outcome
from detection_worker.pipeline.messages.passage import Passage
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.pipeline.messages.traces import step
from detection_worker.pipeline.stages.breaker import Trial
from detection_worker.pipeline.stages.context import Pages, StageContext
from detection_worker.pipeline.stages.handovers import Concluded
from detection_worker.report.page import result_page
from detection_worker.results.base import ResultId, ResultStore, StoredResult

DESTINATION = "s3"
"""Label of the store in the metrics."""
PAGE = "page"
"""Label of pages in the metrics."""

T = TypeVar("T")


class StoreStep:
    """Stores envelopes, and finds what an earlier delivery of a message has stored.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def run(self, passage: Passage) -> None:
        """Store the envelope, unless that is done or there is no store.

        What an earlier delivery has stored may have been posted already, so it stays, and takes
        the place of this envelope.

        Raises:
            JobError: ``RESULT_NOT_STORED``.
            Cancelled: The message is no longer ours.
        """
        store = self._context.store
        if store is None or passage.finished.result_url is not None:
            return
        passage.check()

        def put() -> None:
            # Also tried again by the breaker, when the message may have come further.
            if passage.remembered.result_url is None:
                self._put(store, passage)

        with self._context.breaker.watching(_trial(put)):
            put()

    def recall(self, job: Job) -> Concluded | None:
        """Return what an earlier delivery of the message has stored; None if nothing.

        A first delivery costs no call.

        Raises:
            JobError: ``RESULT_NOT_STORED``.
            Cancelled: The message is no longer ours.
        """
        store = self._context.store
        if store is None or job.message.received.receive_count <= 1:
            return None
        job.check()

        def find() -> StoredResult | None:
            return store.find(result_id(job))

        with self._context.breaker.watching(_trial(find)):
            found = self._counting(find)
        return self._recalled(job, found) if found else None

    def _put(self, store: ResultStore, passage: Passage) -> None:
        started = time.perf_counter()
        job = passage.job
        with step(job, "store"):
            stored = self._counting(lambda: store.put(result_id(job), passage.body))
        self._context.metrics.stage_seconds.labels("store").observe(
            time.perf_counter() - started, trace_exemplar(job.trace)
        )
        earlier = None if stored.body == passage.body else self._recalled(job, stored)
        if earlier is not None:
            passage.replace_by(earlier.finished)
            return
        self._context.metrics.results.labels(DESTINATION, "ok").inc()
        passage.note(lambda known: replace(known, result_url=stored.url))

    def _recalled(self, job: Job, found: StoredResult) -> Concluded | None:
        recalled = _concluded(job, found)
        if recalled is None:
            line = f"what the store has for {job.request_id} is no result: {found.url}"
            code = ErrorCode.RESULT_NOT_STORED.value
            log_outcome(line, action="recall", about=job, level=logging.WARNING, code=code)
            return None
        self._context.metrics.results.labels(DESTINATION, "found").inc()
        line = f"result found in the store for {job.request_id}"
        log_outcome(line, action="recall", about=job, result_url=found.url)
        return recalled

    def _counting(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except JobError as exc:
            self._context.metrics.results.labels(DESTINATION, exc.code.value).inc()
            raise


class PageStep:
    """Stores a page of each result that is stored; whatever fails here fails no result.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def run(self, passage: Passage) -> None:
        """Store the page, unless that is done or no pages are wanted.

        A page that an earlier delivery has stored stays: it may have pictures, which this one has
        not if it found the result in the store.

        Raises:
            Cancelled: The message is no longer ours.
        """
        pages = self._context.pages
        if pages is None or passage.finished.paged or passage.finished.result_url is None:
            return
        passage.check()
        started = time.perf_counter()
        outcome = self._put(pages, passage)
        self._context.metrics.stage_seconds.labels("page").observe(time.perf_counter() - started)
        self._context.metrics.results.labels(PAGE, outcome).inc()
        passage.note(lambda known: replace(known, paged=True))

    def _put(self, pages: Pages, passage: Passage) -> str:
        """Make and store the page; return how that ended."""
        job = passage.job
        try:
            page = result_page(passage.envelope, passage.pictures, notes=pages.notes)
            pages.store.put_page(result_id(job), page.encode(), only_if_missing=passage.earlier)
        except JobError as exc:
            log_outcome(
                f"no page was stored for {job.request_id}: {exc.code.value}: {exc.message}",
                action="page",
                about=job,
                level=logging.WARNING,
                code=exc.code.value,
            )
            return exc.code.value
        except Exception:  # noqa: BLE001 - the result is stored, and a page is only its copy
            log_bug(job, f"making the page of {job.request_id} failed")
            return ErrorCode.INTERNAL.value
        return "ok"


def result_id(job: Job) -> ResultId:
    """Return what names the result of a job in the store."""
    received = job.message.received
    return ResultId(
        request_id=job.request_id,
        message_id=received.message_id,
        index=job.index,
        sent_at_s=received.sent_at_s,
        media=job.request.location,
    )


def _trial(again: Callable[[], object]) -> Trial:
    return Trial(
        check="results",
        paused="receiving is paused until results can be stored again",
        works="results can be stored again",
        again=again,
    )


def _concluded(job: Job, found: StoredResult) -> Concluded | None:
    """Return what a stored envelope says of a job; None if it is no envelope."""
    try:
        envelope = json.loads(found.body)
        failure, kind = _failure(envelope["error"]), envelope["file_type"]
        media_kind = None if kind is None else MediaKind(kind)
    except (ValueError, KeyError, TypeError):
        return None
    finished = Finished(body=found.body, failure=failure, result_url=found.url)
    return Concluded(job=job, finished=finished, result=envelope, kind=media_kind)


def _failure(error: dict[str, str] | None) -> Failure | None:
    if error is None:
        return None
    try:
        code = ErrorCode(error["code"])
    except ValueError:
        # Of a newer version. Only what failed for good is ever stored.
        code = ErrorCode.GAVE_UP
    return Failure(code=code, message=error["message"])
