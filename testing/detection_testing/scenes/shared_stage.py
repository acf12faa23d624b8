"""A stage on which several queues share a pool."""

from dataclasses import dataclass

from detection_operator.kube.store import POOL
from detection_testing.scenes.fleet import Fleet
from detection_testing.scenes.stage import WATCHED, Stage


@dataclass
class SharedStage(Stage, Fleet):
    """A stage with several queues, whose operators watch WorkerPools too."""

    watched: tuple[str, ...] = (*WATCHED, POOL)
