"""What a decision is made from. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from detection_contract.media_types import MediaKind
from detection_operator.scaling.cold_start import ColdStart
from detection_operator.scaling.pods import Pod
from detection_operator.scaling.pools.share import PoolShare


class ReadError(StrEnum):
    """Why the queue could not be read."""

    ACCESS_DENIED = "AccessDenied"
    NO_SUCH_QUEUE = "NonExistentQueue"
    THROTTLED = "Throttled"
    UNREACHABLE = "Unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Messages of one kind that workers finished since the operator started; never falls.

    Attributes:
        media_type: Kind of the media.
        messages: How many.
        seconds: Sum of their service times.
        squares: Sum of the squared service times, in s².
    """

    media_type: MediaKind
    messages: int
    seconds: float
    squares: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The API server refuses to write replicas.

    Attributes:
        why: Its message.
        most: Replicas that it takes, as far as known, and those to try now; None: it refuses to
            remove some.
        retry_in_s: Seconds until more are tried; None while they are.
    """

    why: str
    most: int | None
    retry_in_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen at one time. Counts are >= 0.

    Attributes:
        sampled_at_s: When the queue was last read with success; None means never.
        error: Why the newest read failed; the counts are then those of ``sampled_at_s``.
        error_why: What must be fixed; empty when the failure may pass by itself.
        visible: Messages that can be received (approximate, as all counts of SQS).
        in_flight: Messages received and not deleted.
        delayed: Messages not due yet.
        dead_letter: Messages in the dead-letter queue; None when there is none or it is unread.
        oldest_age_s: Longest wait among recently received messages; None unknown.
        replicas: Replicas that the Deployment asks for now, without departing ones.
        outdated: Those of them that a roll-out is replacing; their substitutes count too.
        departing: Replicas whose node is going. They come on top: their substitutes count as
            ``replicas``. No other number counts them but ``finishing``.
        departing_why: Which nodes these are, and why they go; empty without any.
        ready: Pods that can take messages (draining ones cannot).
        starting: Pods that have a node, or wait for one for a moment only.
        unschedulable: Pods for which the cluster has no node.
        unschedulable_since_s: Since when the oldest of them waits; None without any.
        unschedulable_why: The resource that is missing, such as ``nvidia.com/gpu``.
        unschedulable_said: Last event of the scheduler or an autoscaler about the oldest of them.
        launching: Those for which an autoscaler recently announced a node.
        unpromised_since_s: Since when the oldest of the others waits; None: as long as the oldest.
        hopeless: Those for which an autoscaler reports that it adds no node.
        unplaced: Starting pods that have no node so far.
        launch_s: Longest of the recent waits for a node; None before the first.
        unadmitted: Starting pods that no kubelet has admitted yet, ``unplaced`` ones included.
        rejected: Pods that failed before they were ever ready, in all; never falls.
        unready: Pods with a node that have not been ready for long.
        stalled: Those that never were ready and hold a node for nothing.
        not_starting_why: The cluster's message about unready or rejected pods; empty without any.
        refused_why: Why the cluster lets no more pods be created; empty while it does.
        draining: Pods that finish their messages and receive no more.
        busy: Pods that hold a message, draining ones not counted.
        finishing: Draining and departing pods that still hold a message.
        silent: Ready pods that did not report, so that they may be busy or not.
        served: Finished messages by kind, each kind at most once.
        received: Messages that workers received for the first time; never falls.
        received_late: Those of them that had waited longer than the objective allows.
        failed: Attempts of workers that ended in a failure; never falls.
        cold_start_s: Measured seconds from a new pod to ready; None before the first.
        cold_start: Its parts; None before the first.
        pods: The pods behind the counts, to choose from when some must go.
        neighbours: Queues of this one's account and region, which share an API rate; itself too.
        pool: What the pool of ``scaling.pool`` lets it run; None without one or while unknown.
        refusal: The API server refuses to write replicas; None while it takes them.
    """

    sampled_at_s: float | None
    error: ReadError | None = None
    error_why: str = ""
    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    dead_letter: int | None = None
    oldest_age_s: float | None = None
    replicas: int = 0
    outdated: int = 0
    departing: int = 0
    departing_why: str = ""
    ready: int = 0
    starting: int = 0
    unschedulable: int = 0
    unschedulable_since_s: float | None = None
    unschedulable_why: str = ""
    unschedulable_said: str = ""
    launching: int = 0
    unpromised_since_s: float | None = None
    hopeless: int = 0
    unplaced: int = 0
    launch_s: float | None = None
    unadmitted: int = 0
    rejected: int = 0
    unready: int = 0
    stalled: int = 0
    not_starting_why: str = ""
    refused_why: str = ""
    draining: int = 0
    busy: int = 0
    finishing: int = 0
    silent: int = 0
    served: tuple[Served, ...] = ()
    received: int = 0
    received_late: int = 0
    failed: int = 0
    cold_start_s: float | None = None
    cold_start: ColdStart | None = None
    pods: tuple[Pod, ...] = ()
    neighbours: int = 1
    pool: PoolShare | None = None
    refusal: Refusal | None = None

    @property
    def working(self) -> int:
        """Pods that hold a message, draining ones too."""
        return self.busy + self.finishing

    @property
    def existing(self) -> int:
        """Replicas that exist, departing ones too."""
        return self.replicas + self.departing

    @property
    def placed(self) -> int:
        """Pods that have a node."""
        return max(0, self.ready + self.starting + self.draining - self.unplaced)

    @property
    def paid(self) -> int:
        """Replicas that cost something: one that waits for a node costs nothing."""
        return max(0, self.existing - self.unschedulable)
