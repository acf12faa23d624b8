"""Sums of the counters of workers that start, restart and end: the sums never fall."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from detection_contract.media_types import MediaKind
from detection_operator.readers.values import NO_WORK, Work, WorkerState
from detection_operator.scaling.observation import Served


@dataclass(slots=True)
class Counters:
    """Totals over all workers of a DetectionQueue since the operator started.

    Attributes:
        received: First receives.
        received_late: First receives later than the objective allows.
        failed: Failed attempts.
        work: Finished messages by kind.
        since_s: When this process took over. What workers that started earlier had received
            before, another process counted; their work is added: it tells how long work takes.
    """

    received: int = 0
    received_late: int = 0
    failed: int = 0
    work: dict[MediaKind, Work] = field(default_factory=dict)
    since_s: float = float("-inf")
    _last: dict[str, WorkerState] = field(default_factory=dict)

    def absorb(self, uid: str, state: WorkerState) -> None:
        """Add what a worker did since its last report.

        Args:
            uid: Uid of its pod.
            state: Its report. A worker that restarted counts from zero again.
        """
        before = self._last.get(uid)
        if before is None and (state.started_at_s or self.since_s) < self.since_s:
            before = replace(state, served={})
        elif before is not None and _restarted(before, state):
            before = None
        self.received += state.received - (before.received if before else 0)
        self.received_late += state.received_late - (before.received_late if before else 0)
        self.failed += state.failed - (before.failed if before else 0)
        for kind, now in state.served.items():
            past = before.served.get(kind, NO_WORK) if before else NO_WORK
            total = self.work.get(kind, NO_WORK)
            self.work[kind] = Work(
                total.messages + now.messages - past.messages,
                total.seconds + now.seconds - past.seconds,
                total.squares + now.squares - past.squares,
            )
        self._last[uid] = state

    def retain(self, uids: Collection[str]) -> None:
        """Forget the workers whose pods are gone; their share stays in the sums."""
        for uid in self._last.keys() - set(uids):
            del self._last[uid]

    def served(self) -> tuple[Served, ...]:
        """Return the finished messages by kind."""
        return tuple(
            Served(media_type=kind, messages=w.messages, seconds=w.seconds, squares=w.squares)
            for kind, w in sorted(self.work.items())
        )


def _restarted(before: WorkerState, now: WorkerState) -> bool:
    if before.started_at_s != now.started_at_s:
        return True
    fell = now.received < before.received or now.failed < before.failed
    fell = fell or now.received_late < before.received_late
    return fell or any(
        now.served.get(kind, NO_WORK).messages < work.messages
        or now.served.get(kind, NO_WORK).seconds < work.seconds
        or now.served.get(kind, NO_WORK).squares < work.squares
        for kind, work in before.served.items()
    )
