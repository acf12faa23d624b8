"""Work off a backlog with nodes that take minutes to come, and print how long that takes.

The operator's own reconciler runs against an in-memory cluster whose node pool launches a node for
each pod that finds no room. A node that was ordered comes even if its pod was withdrawn, and one
without pods goes again. 300 messages of 10 s, 8 nodes at most; the goal for each row is the launch
and 1.5 times the work (375 s). Where only some of the nodes can come, the work takes these longer.

    python benchmarks/operator_slow_nodes.py                # every row, minutes
    python benchmarks/operator_slow_nodes.py --launch 240 1200 --json
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from detection_testing.scenes.node_pool import (
    BACKLOG,
    NODES,
    SERVICE_S,
    Outcome,
    backlog_world,
    clear_backlog,
)

GOAL_WORK = 1.5
LAUNCHES = (60, 120, 200, 240, 300, 480, 720, 1200)
EMPTY = (30, 600)
CAPACITIES: Mapping[str, Mapping[str, int]] = {
    "default": {},
    "gpu.yaml": {"unschedulableSeconds": 300, "probeReplicas": 2, "maxBackoffSeconds": 3600},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One backlog.

    Attributes:
        launch_s: Seconds from a Pending pod to its node.
        empty_s: Seconds after which an empty node is removed.
        nodes: Most nodes that the cluster can launch.
        capacity: Name of the settings.
        goal_s: Launch and 1.5 times the work.
        outcome: What came of it.
    """

    launch_s: int
    empty_s: int
    nodes: int
    capacity: str
    goal_s: float
    outcome: Outcome

    @property
    def met(self) -> bool:
        """It was done in time."""
        return self.outcome.done_s is not None and self.outcome.done_s <= self.goal_s


def play(launch_s: int, empty_s: int, nodes: int, capacity: str) -> Row:
    """Work off one backlog."""
    world = backlog_world(
        CAPACITIES[capacity],
        launch_s=float(launch_s),
        empty_s=float(empty_s),
        most=None if nodes == NODES else nodes,
    )
    return Row(
        launch_s=launch_s,
        empty_s=empty_s,
        nodes=nodes,
        capacity=capacity,
        goal_s=launch_s + GOAL_WORK * BACKLOG * SERVICE_S / nodes,
        outcome=clear_backlog(world),
    )


def rows(launches: list[int]) -> Iterator[Row]:
    """Work off all backlogs."""
    for capacity, launch_s, empty_s, nodes in itertools.product(
        CAPACITIES, launches, EMPTY, (NODES, 3)
    ):
        yield play(launch_s, empty_s, nodes, capacity)


def main() -> int:
    """Run the benchmark; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--launch", type=int, nargs="+", default=list(LAUNCHES), metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    missed = 0
    if not options.json:
        print("capacity  launch  empty  nodes  done      goal      launched  node-hours")
    for row in rows(options.launch):
        missed += not row.met
        found.append({**asdict(row), "met": row.met})
        if not options.json:
            done = "never" if row.outcome.done_s is None else f"{row.outcome.done_s} s"
            print(
                f"{row.capacity:<9} {row.launch_s:>4} s {row.empty_s:>4} s  {row.nodes:>5}"
                f"  {done:<8}  {row.goal_s:.0f} s{'' if row.met else ' missed':<8}"
                f"  {row.outcome.launched:>4}      {row.outcome.node_hours:.1f}",
                flush=True,
            )
    if options.json:
        print(json.dumps(found))
    else:
        print(f"{len(found)} backlogs, {missed} missed their goal")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
