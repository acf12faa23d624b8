"""The span of a forward pass, which the files of many traces share."""

from detection_tracing.contexts import TRACEPARENT, parse_traceparent
from detection_tracing.port import Tracing
from detection_worker.pipeline.files.handovers import T
from detection_worker.pipeline.stages.scoring.in_work import ScoringBatch


def record_pass(tracing: Tracing, batch: ScoringBatch[T]) -> None:
    """Record a pass that has ended, once for all its files.

    It is a step of the first file's trace that is recorded, so that it is recorded too, and has
    links to the others; without any it is not recorded.
    """
    contexts = [carrier for s in batch.live if (carrier := s.job.file.ticket.carrier) is not None]
    recorded = [
        each
        for each in contexts
        if (ids := parse_traceparent(each[TRACEPARENT])) is not None and ids.sampled
    ]
    if not recorded:
        return
    card = batch.detector.card
    about: dict[str, str | int] = {
        "detection_queue.model.name": card.name,
        "detection_queue.model.version": card.version,
        "detection_queue.batch.files": len(batch.live),
        "detection_queue.batch.units": len(batch),
    }
    first, *others = recorded
    with tracing.start(
        "forward pass", attributes=about, parent=first, links=others, began_ns=batch.began_ns
    ) as span:
        failures = [s.job.file.failure for s in batch.live if s.job.file.failure is not None]
        if failures:
            span.fail(failures[0].code.value)
