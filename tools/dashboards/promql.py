"""PromQL of the boards: selectors by the variables and the few shapes that repeat."""

from typing import Final

QUEUES: Final = 'cluster=~"$cluster", namespace=~"$namespace", name=~"$queue"'
"""Series of the operator. All is ``.*``, which also matches series without the label."""
POOLS: Final = 'cluster=~"$cluster", namespace=~"$namespace"'
WORKERS: Final = 'cluster=~"$cluster", namespace=~"$namespace", queue=~"$queue"'
OPERATORS: Final = 'cluster=~"$cluster"'
QUEUE_KEY: Final = ("cluster", "namespace", "name")
POOL_KEY: Final = ("cluster", "namespace", "pool")
OBJECT_NAMES: Final = "{{namespace}}/{{name}} {{cluster}}"
"""Legend of a queue. The cluster comes last: without the label nothing is seen of it."""
WORKER_NAMES: Final = "{{namespace}}/{{queue}} {{cluster}}"
OURS: Final = "(Detection|WorkerPool).+"
"""Names of the chart's alerts."""


def grouped(function: str, expr: str, *labels: str) -> str:
    """Return an aggregation, over everything without labels."""
    by = f" by ({', '.join(labels)}) " if labels else ""
    return f"{function}{by}({expr})"


def queues(name: str, *more: str) -> str:
    """Return a gauge of the operator, one series a queue, whichever replica exported it.

    Args:
        name: The gauge without its prefix.
        more: Labels that are kept beside the queue's.
    """
    return grouped("max", f"detection_operator_{name}{{{QUEUES}}}", *QUEUE_KEY, *more)


def condition(kind: str) -> str:
    """Return 1 for each queue whose condition is False, else 0."""
    series = f'detection_operator_condition{{{QUEUES}, type="{kind}"}}'
    return grouped("max", f"{series} == bool 0", *QUEUE_KEY)


def pools(name: str, *labels: str, extra: str = "") -> str:
    """Return a gauge of WorkerPools, one series a pool or a queue of it."""
    series = f"detection_operator_pool_{name}{{{POOLS}{extra and ', ' + extra}}}"
    return grouped("max", series, *POOL_KEY, *labels)


def workers(name: str, extra: str = "") -> str:
    """Return the selector of a worker's series."""
    return f"detection_worker_{name}{{{WORKERS}{extra and ', ' + extra}}}"


def rate(name: str, *labels: str, extra: str = "") -> str:
    """Return the rate of a worker's counter, summed over pods."""
    return grouped("sum", f"rate({workers(name, extra)}[$__rate_interval])", *labels)


def increase(name: str, *labels: str, extra: str = "") -> str:
    """Return the increase of a worker's counter a step, summed over pods."""
    return grouped("sum", f"increase({workers(name, extra)}[$__rate_interval])", *labels)


def ratio(part: str, whole: str) -> str:
    """Return a ratio that is absent rather than NaN when there is nothing to divide by."""
    return f"{part} / ({whole} > 0)"


def or_none(part: str, whole: str) -> str:
    """Return a part that is 0 where only the whole has series."""
    return f"({part} or 0 * {whole})"


def quantile(q: float, name: str, *labels: str) -> str:
    """Return a quantile of a worker's histogram over the pods, absent without observations."""
    buckets = rate(f"{name}_bucket", "le", *labels)
    return f"histogram_quantile({q}, {buckets}) >= 0"


def largest(expr: str, count: int = 10) -> str:
    """Return the series that are the largest at some time of the board: the same all along."""
    return f"{expr} and topk({count}, max_over_time(({expr})[$__range:$__interval] @ end()))"


def operators(name: str) -> str:
    """Return the selector of a series of the operator's processes."""
    return f"detection_operator_{name}{{{OPERATORS}}}"


def operator_rate(name: str, *labels: str) -> str:
    """Return the rate of a counter of the operator's processes."""
    return grouped("sum", f"rate({operators(name)}[$__rate_interval])", *labels)


def alerts() -> str:
    """Return the chart's firing alerts of the chosen queues; those of the operator have none."""
    firing = f'alertstate="firing", cluster=~"$cluster", alertname=~"{OURS}"'
    chosen = [
        f'ALERTS{{{firing}, namespace=~"$namespace", {label}=~"$queue"}}'
        for label in ("name", "queue")
    ]
    return " or ".join([*chosen, f'ALERTS{{{firing}, alertname=~"DetectionOperator.+"}}'])
