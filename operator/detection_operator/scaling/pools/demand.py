"""What one queue asks of its pool."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one queue asks of its pool. Counts are replicas, >= 0.

    Attributes:
        key: Identifies the queue: its name, which is unique in the pool's namespace.
        wanted: Replicas of its plan without the pool.
        fewest: Minimum that holds now: ``minReplicas``, a schedule's, in mode Manual
            ``spec.replicas``. It comes right after the guarantees of all queues.
        guaranteed: ``scaling.pool.guaranteed``.
        priority: ``scaling.pool.priority``; more comes first.
        weight: ``scaling.pool.weight``; >= 1.
        borrow: It may have more than it is guaranteed.
        units_each: Units of the pool that one replica takes; >= 1.
        held: Replicas that exist or that its Deployment asks for, draining and terminating ones
            included. They take up the pool until they are gone.
        leaving: Those of them that go in any case, and count as none of its share: terminating
            ones, and ones whose node goes.
        granted: Its share so far: what it keeps where another has just the same claim, and while
            the capacity is unknown. Where there was none yet, what runs without draining.
        pinned: It keeps what it holds, whatever others need: its queue cannot be read, its plan is
            not known yet, or not applied (paused, Shadow: it then wants what it holds).
        startable: Replicas of it that run or would, as far as known, with a probe; None: all. It
            has more only while nobody else can use the units.
        work_s: Replica seconds that wait.
        age_s: Age of the oldest waiting message; 0 while nothing waits.
        wait_s: Allowed wait; > 0.
        cold_start_s: Until a new replica takes messages.
        load: Replicas that the arrivals keep busy.
        needed_before: Replicas that it needed for its objective so far; None: not known.
    """

    key: str
    wanted: int
    fewest: int = 0
    guaranteed: int = 0
    priority: int = 0
    weight: int = 1
    borrow: bool = True
    units_each: int = 1
    held: int = 0
    leaving: int = 0
    granted: int = 0
    pinned: bool = False
    startable: int | None = None
    work_s: float = 0.0
    age_s: float = 0.0
    wait_s: float = 120.0
    cold_start_s: float = 0.0
    load: float = 0.0
    needed_before: float | None = None

    @property
    def limit(self) -> int:
        """Most that it is ever granted."""
        wanted = max(self.wanted, self.fewest)
        most = wanted if self.borrow else min(wanted, self.guaranteed)
        return max(self.held, most) if self.pinned else most

    @property
    def usable(self) -> int:
        """Most that it is granted while another queue can use the units."""
        if self.pinned or self.startable is None:
            return self.limit
        return min(self.limit, self.startable)

    @property
    def guarantee(self) -> int:
        """What it gets before any other queue gets more than this."""
        return min(self.usable, max(self.guaranteed, self.held if self.pinned else 0))

    @property
    def floor(self) -> int:
        """What it gets before any other queue borrows: the guarantee and the minimum."""
        return max(self.guarantee, min(self.usable, self.fewest))
