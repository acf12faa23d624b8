"""What docs/eks.md costs: at rest, and for 1,000 files.

No measurement: prices, which are assumptions with a date, times figures of other benchmarks:
CPU of a message (``worker_throughput.py --rows worker``) and requests to SQS of an empty queue
(``operator_many_queues.py --queues 200 --settle-s 120``). Give your own to see what they change.

    python benchmarks/costs/eks.py
    python benchmarks/costs/eks.py --cpu-ms mix=30 --price worker_vcpu_hour=0.02 --busy 0.8
"""

import argparse
from collections.abc import Mapping
from typing import Final

HOURS: Final = 730.0
"""Hours of a month."""
PRICED_IN: Final = "November 2026, us-east-1, on demand, US dollars, without tax"
PRICES: Final[Mapping[str, float]] = {
    "control_plane_hour": 0.10,
    "system_node_hour": 0.1008,  # m7i.large
    "nat_gateway_hour": 0.045,
    "public_ipv4_hour": 0.005,
    "volume_gb_month": 0.08,  # gp3
    "worker_vcpu_hour": 0.1785 / 4,  # c7i.xlarge
    "sqs_million": 0.40,
    "s3_get_thousand": 0.0004,
    "s3_put_thousand": 0.005,
}
CPU_MS: Final[Mapping[str, float]] = {
    "images": 6.1,
    "photos": 29.1,
    "audio": 33.5,
    "videos": 135.9,
    "mix": 19.5,
}
"""CPU of a message by media set, all processes of a worker, models of the package on a CPU."""
SQS_OF_MESSAGE: Final = 3.0
"""Had its notification, receive and delete each a request of their own: an upper bound."""
SQS_AT_REST_A_MINUTE: Final = 1488 / 200
SYSTEM_NODES: Final = 2
VOLUME_GB: Final = 50.0
BUSY: Final = 0.5
"""Share of the time of a worker's node in which it works: the rest is cold start and idling."""


def at_rest(prices: Mapping[str, float]) -> dict[str, float]:
    """Return dollars a month without a single file."""
    requests = SQS_AT_REST_A_MINUTE * 60 * HOURS
    return {
        "EKS control plane": prices["control_plane_hour"] * HOURS,
        "two m7i.large": SYSTEM_NODES * prices["system_node_hour"] * HOURS,
        "NAT gateway and its address": (prices["nat_gateway_hour"] + prices["public_ipv4_hour"])
        * HOURS,
        "volumes of the nodes": SYSTEM_NODES * VOLUME_GB * prices["volume_gb_month"],
        "SQS, one DetectionQueue": requests / 1e6 * prices["sqs_million"],
        "workers": 0.0,
    }


def thousand(cpu_ms: float, prices: Mapping[str, float], busy: float) -> dict[str, float]:
    """Return dollars for 1,000 files."""
    return {
        "CPU": cpu_ms / 3600 * prices["worker_vcpu_hour"] / busy,
        "SQS": SQS_OF_MESSAGE * 1000 / 1e6 * prices["sqs_million"],
        "S3": prices["s3_get_thousand"] + 2 * prices["s3_put_thousand"],
    }


def pair(text: str) -> tuple[str, float]:
    """Return name and number of ``NAME=NUMBER``."""
    name, _, value = text.partition("=")
    return name, float(value)


def tables(prices: Mapping[str, float], cpu_ms: Mapping[str, float], busy: float) -> str:
    """Return both tables in Markdown."""
    rest = at_rest(prices)
    lines = ["| at rest | $ a month |", "|---|---|"]
    lines += [f"| {name} | {cost:.2f} |" for name, cost in rest.items()]
    lines += [f"| **together** | **{sum(rest.values()):.2f}** |", ""]
    lines += ["| 1,000 files | CPU, ms a file | CPU, $ | SQS, $ | S3, $ | together, $ |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, each in cpu_ms.items():
        cost = thousand(each, prices, busy)
        parts = " | ".join(f"{part:.4f}" for part in cost.values())
        lines.append(f"| {name} | {each:g} | {parts} | {sum(cost.values()):.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--price", type=pair, action="append", default=[], metavar="NAME=DOLLARS")
    parser.add_argument("--cpu-ms", type=pair, action="append", default=[], metavar="SET=MS")
    parser.add_argument("--busy", type=float, default=BUSY, help="share of a node's time at work")
    arguments = parser.parse_args()
    unknown = {name for name, _ in arguments.price} - PRICES.keys()
    if unknown or not 0 < arguments.busy <= 1:
        parser.error(f"prices are {', '.join(PRICES)}; --busy is above 0 and at most 1")
    print(f"Prices: {PRICED_IN}.\n")
    prices, cpu_ms = {**PRICES, **dict(arguments.price)}, {**CPU_MS, **dict(arguments.cpu_ms)}
    print(tables(prices, cpu_ms, arguments.busy))


if __name__ == "__main__":
    main()
