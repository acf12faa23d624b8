"""The page beside the stored envelope of a job: made at best effort, before anybody is told."""

import logging
import time
from dataclasses import replace
from typing import Final

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.pipeline.messages.log import log_bug, log_outcome
from detection_worker.pipeline.messages.passage import Passage
from detection_worker.pipeline.stages.context import Pages, StageContext
from detection_worker.pipeline.stages.store_step import result_id
from detection_worker.report.page import result_page

DESTINATION: Final = "page"
"""Label of pages in the metrics, beside that of the store."""


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
        self._context.metrics.results.labels(DESTINATION, outcome).inc()
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
