"""Run several policies on one workload."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from detection_operator.simulation import oracle
from detection_operator.simulation.policies import Keda, Ours
from detection_operator.simulation.simulator import Policy, Run, Simulator, World
from detection_operator.simulation.workload import Workload
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Policy as PolicyName

NAMES: Final = ("ours", "backlog", "keda", "oracle")
KEDA_QUEUE_LENGTH: Final = 5.0
"""KEDA's default ``queueLength``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the policies get.

    Attributes:
        spec: For ours, and the bounds of all.
        service_s: Mean service time; the rules on backlog divide the allowed wait by it.
        keda_queue_length: Messages for each replica under KEDA.
    """

    spec: QueueSpec
    service_s: float
    keda_queue_length: float = KEDA_QUEUE_LENGTH


def run_all(
    names: Iterable[str], workload: Workload, world: World, setting: Setting
) -> Mapping[str, Run]:
    """Return one run for each policy name, in order.

    Raises:
        KeyError: There is no policy of that name.
    """
    return {name: _run(name, workload, world, setting) for name in names}


def _run(name: str, workload: Workload, world: World, setting: Setting) -> Run:
    if name == "oracle":
        objective = setting.spec.slo.objective_percent / 100
        high = setting.spec.scaling.max_replicas
        return oracle.best_run(workload, world, objective=objective, max_replicas=high)[0]
    return Simulator(workload, world, _policy(name, setting)).run()


def _policy(name: str, setting: Setting) -> Policy:
    spec = setting.spec
    if name == "ours":
        return Ours(spec)
    if name == "keda":
        return Keda(queue_length=setting.keda_queue_length, max_replicas=spec.scaling.max_replicas)
    if name == "backlog":
        each = max(1, int(spec.slo.queue_wait_s / setting.service_s))
        scaling = replace(spec.scaling, policy=PolicyName.BACKLOG, backlog_per_replica=each)
        return Ours(replace(spec, scaling=scaling))
    raise KeyError(name)
