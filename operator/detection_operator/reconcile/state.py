"""What the operator remembers of one DetectionQueue between reconciles. Losing it is safe."""

from dataclasses import dataclass, field

from detection_operator.reconcile.act.written import Written
from detection_operator.reconcile.observe.desired import DesiredSpec
from detection_operator.reconcile.observe.observed import Observed
from detection_operator.reconcile.observe.restore import Restored
from detection_operator.reconcile.report.reported import Reported
from detection_operator.scaling.memory import Memory


@dataclass(slots=True)
class QueueState:
    """Mutable; only the reconcile of its DetectionQueue touches it.

    Attributes:
        uid: Uid of the DetectionQueue; one of the same name with another uid is another one.
        desired: The newest valid generation; None before the first.
        former: Deployments that earlier generations referred to, until their workers resumed.
        memory: What the next decision is made from besides the observation.
        observed: What was observed.
        written: What was written to the cluster and asked of workers.
        reported: What the status and events have told.
    """

    uid: str
    desired: DesiredSpec | None = None
    former: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    observed: Observed = field(default_factory=Observed)
    written: Written = field(default_factory=Written)
    reported: Reported = field(default_factory=Reported)

    @property
    def adopted(self) -> set[str]:
        """Names of adopted Deployments whose workers may have been asked to drain."""
        present = None if self.desired is None else self.desired.adopts
        return self.former | ({present} if present is not None else set())

    def take_over(self, found: Restored | None, now_s: float) -> None:
        """Begin in this process, with what the status still knew; None: there was no status."""
        self.observed.take_over(found, now_s)
        if found is not None:
            self.memory = found.memory

    def follow(self, desired: DesiredSpec) -> None:
        """Follow a generation from now on."""
        before, self.desired = self.desired, desired
        if before is desired:
            return
        # The edit may fix a queue that could not be read, or replicas that were refused.
        self.observed.poll.read_now()
        self.written.refused = {}
        self.former.discard(desired.adopts or "")
        if before is not None and before.adopts not in {None, desired.adopts}:
            self.former.add(str(before.adopts))
            # Its workers are out of sight, not terminated.
            self.observed.workers.clear()
