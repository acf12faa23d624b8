"""What a simulation is given and what comes of it. Values only."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from detection_operator.scaling.observation import Observation

EPOCH_S: Final = 1_767_225_600.0
"""Simulated time starts on 2026-01-01T00:00:00Z."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What policies cannot influence.

    Attributes:
        cold_start_s: From creation of a pod with a node until it takes messages.
        wait_s: Objective: a message should start within these seconds.
        noise: Relative standard deviation of the counts.
        lag_s: The counts are those of so many seconds ago.
        prefetch: Messages that a busy pod receives ahead; they wait in it and are in flight.
        visibility_s: A message of a killed worker comes back after these seconds.
        max_receives: Failed attempts until the dead-letter queue.
        tail_s: The simulation ends this long after the last arrival.
        from_s: Waits of messages, and replica seconds, from before this time count in no figure.
        seed: Seed of all random numbers.
    """

    cold_start_s: float = 120.0
    wait_s: float = 120.0
    noise: float = 0.05
    lag_s: float = 0.0
    prefetch: int = 0
    visibility_s: float = 30.0
    max_receives: int = 3
    tail_s: float = 900.0
    from_s: float = 0.0
    seed: int = 7


class Policy(Protocol):
    """Something that sets the number of replicas."""

    drains: bool

    def choose(self, seen: Observation, now_s: float) -> tuple[int, float]:
        """Return the replicas to have and the seconds until the next look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """State at one look of the policy."""

    at_s: float
    queue: int
    age_s: float
    replicas: int
    ready: int
    desired: int


@dataclass(slots=True, kw_only=True)
class Run:
    """Result of one run.

    Attributes:
        waits_s: Wait of each message that was served, until the attempt that succeeded.
        replica_s: Seconds that pods held a node.
        killed_busy: Pods that were removed while they worked.
        decisions: Looks of the policy.
        reactions_s: From the first waiting message on an empty deployment to the decision.
        samples: One for each look.
        unserved_s: Wait so far of each message that is left at the end.
    """

    waits_s: list[float] = field(default_factory=list)
    replica_s: float = 0.0
    killed_busy: int = 0
    decisions: int = 0
    reactions_s: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    unserved_s: list[float] = field(default_factory=list)

    @property
    def unserved(self) -> int:
        """Messages left at the end."""
        return len(self.unserved_s)
