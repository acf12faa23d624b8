"""What a run is worth: attainment, cost, and how calmly it got there."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from detection_operator.simulation.oracle import in_time_of
from detection_operator.simulation.simulator import Run, Sample, World

HOUR_S = 3600.0
UNKNOWN = "n/a"
"""In place of a figure about messages of which nothing is known at the end of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One row of the table.

    Attributes:
        policy: Its name.
        attainment: Share of the messages that started in time, 0 to 1; ones that are left at the
            end and not late yet do not count. None: of no message it is known.
        p99_wait_s: Wait that 99 % of the served messages did not exceed; None: none was served.
        replica_hours: Hours that pods held a node.
        overshoot: Replica seconds above the oracle's at the same time / the oracle's; None
            without an oracle.
        flaps_per_hour: Changes of direction of the number of replicas.
        reaction_s: Mean from the first waiting message without pods to the decision; None: never.
        killed_busy: Pods that were removed while they worked.
        unserved: Messages left at the end.
        decisions: Looks at the queue.
    """

    policy: str
    attainment: float | None
    p99_wait_s: float | None
    replica_hours: float
    overshoot: float | None
    flaps_per_hour: float
    reaction_s: float | None
    killed_busy: int
    unserved: int
    decisions: int


def summarise(policy: str, run: Run, world: World, *, oracle: Run | None) -> Summary:
    """Return the row of ``run``."""
    waits = sorted(run.waits_s)
    length_s = run.samples[-1].at_s - run.samples[0].at_s if run.samples else 0.0
    reactions = run.reactions_s
    in_time, judged = in_time_of(run, world.wait_s)
    return Summary(
        policy=policy,
        attainment=in_time / judged if judged else None,
        p99_wait_s=waits[int(0.99 * (len(waits) - 1))] if waits else None,
        replica_hours=run.replica_s / HOUR_S,
        overshoot=None if oracle is None else overshoot(run.samples, oracle.samples),
        flaps_per_hour=flaps(run.samples) / max(length_s / HOUR_S, 1e-9),
        reaction_s=sum(reactions) / len(reactions) if reactions else None,
        killed_busy=run.killed_busy,
        unserved=run.unserved,
        decisions=run.decisions,
    )


def flaps(samples: Iterable[Sample]) -> int:
    """Return how often the desired replicas turned from rising to falling or back."""
    desired = [sample.desired for sample in samples]
    steps = [after - before for before, after in itertools.pairwise(desired) if after != before]
    return sum(1 for first, second in itertools.pairwise(steps) if (first > 0) != (second > 0))


def overshoot(ours: Sequence[Sample], best: Sequence[Sample]) -> float | None:
    """Return the replica seconds above ``best`` / those of ``best``; None when it has none."""
    above_s = total_s = 0.0
    index = 0
    for sample, after in itertools.pairwise(ours):
        while index + 1 < len(best) and best[index + 1].at_s <= sample.at_s:
            index += 1
        dt = after.at_s - sample.at_s
        above_s += max(0, sample.replicas - best[index].replicas) * dt
        total_s += best[index].replicas * dt
    return above_s / total_s if total_s else None


HEADINGS = (
    "policy",
    "in time",
    "p99 wait",
    "replica-h",
    "x oracle",
    "overshoot",
    "flaps/h",
    "reaction",
    "killed busy",
    "unserved",
    "decisions",
)


def table(rows: Sequence[Summary], *, oracle_hours: float | None) -> str:
    """Return the rows as text, columns aligned."""
    return aligned((HEADINGS, *(_cells(row, oracle_hours) for row in rows)))


def share_of_messages(share: float | None, *, digits: int = 2) -> str:
    """Return a share in percent."""
    return UNKNOWN if share is None else f"{share:.{digits}%}"


def wait(seconds: float | None) -> str:
    """Return a wait in seconds."""
    return UNKNOWN if seconds is None else f"{seconds:.0f} s"


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text, columns aligned."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = (
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def _cells(row: Summary, oracle_hours: float | None) -> tuple[str, ...]:
    ratio = f"{row.replica_hours / oracle_hours:.2f}" if oracle_hours else "-"
    return (
        row.policy,
        share_of_messages(row.attainment),
        wait(row.p99_wait_s),
        f"{row.replica_hours:.2f}",
        ratio,
        "-" if row.overshoot is None else f"{row.overshoot:.0%}",
        f"{row.flaps_per_hour:.1f}",
        "-" if row.reaction_s is None else f"{row.reaction_s:.1f} s",
        str(row.killed_busy),
        str(row.unserved),
        str(row.decisions),
    )
