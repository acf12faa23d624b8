"""The rules that no bound can say, in CEL, by the path of the object that they look at.

The API server also checks the default ``{}`` of an object by these rules, before the defaults
inside it are filled in. Every rule therefore asks ``has()`` first, even where there is a default.
Costs stay small because every string and list is bounded.
"""

from typing import Final

from detection_contract.aws.sqs_urls import URL_REGION_PATTERN
from detection_operator.spec.fields import ADDRESS_PATTERN, ADDRESS_RULE

NAME_MAX: Final = 52
"""Longest name of a DetectionQueue: pods add a hash of 11 characters, labels end at 63."""

ROOT_RULES: Final = (
    (
        f"self.metadata.name.size() <= {NAME_MAX}",
        f"metadata.name may have at most {NAME_MAX} characters: pods are named after it",
    ),
)

RULES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "spec": (
        (
            "!has(self.scaling) || !has(self.scaling.mode) || self.scaling.mode != 'Manual'"
            " || has(self.replicas)",
            "replicas is required when scaling.mode is Manual",
        ),
        (
            "!has(self.budget) || !has(self.budget.maxPerHour)"
            " || !has(self.budget.replicaHourCost)"
            " || !has(self.scaling) || !has(self.scaling.minReplicas)"
            " || double(self.budget.maxPerHour) + 0.000001 >="
            " double(self.budget.replicaHourCost) * double(self.scaling.minReplicas)",
            "budget.maxPerHour does not pay scaling.minReplicas",
        ),
    ),
    "spec.queue": (
        (
            f"!has(self.url) || has(self.region) || self.url.matches('{URL_REGION_PATTERN}')",
            "queue.region is required because queue.url does not name a region",
        ),
        (
            "!has(self.url) || !has(self.deadLetterQueue) || self.deadLetterQueue != self.url",
            "queue.deadLetterQueue must differ from queue.url",
        ),
        (
            f"!has(self.endpointURL) || self.endpointURL.matches(r'{ADDRESS_PATTERN}')",
            f"queue.endpointURL is no address: {ADDRESS_RULE}",
        ),
    ),
    "spec.scaling": (
        (
            "!has(self.minReplicas) || !has(self.maxReplicas)"
            " || self.minReplicas <= self.maxReplicas",
            "scaling.minReplicas is above scaling.maxReplicas",
        ),
        (
            "!has(self.headroomReplicas) || !has(self.maxReplicas)"
            " || self.headroomReplicas <= self.maxReplicas",
            "scaling.headroomReplicas is above scaling.maxReplicas",
        ),
        (
            "!has(self.policy) || self.policy != 'Backlog' || has(self.backlogPerReplica)",
            "scaling.backlogPerReplica is required when scaling.policy is Backlog",
        ),
        (
            "!has(self.schedules) || !has(self.maxReplicas)"
            " || self.schedules.all(s, !has(s.minReplicas) || s.minReplicas <= self.maxReplicas)",
            "a schedule's minReplicas is above scaling.maxReplicas",
        ),
        (
            "!has(self.fallback) || !has(self.fallback.replicas) || !has(self.maxReplicas)"
            " || self.fallback.replicas <= self.maxReplicas",
            "scaling.fallback.replicas is above scaling.maxReplicas",
        ),
    ),
    "spec.scaling.fallback": (
        (
            "!has(self.behavior) || self.behavior == 'Hold' || has(self.replicas)",
            "scaling.fallback.replicas is required by the behaviors Static and AtLeast",
        ),
    ),
    "spec.budget": (
        (
            "!has(self.replicaHourCost) || double(self.replicaHourCost) > 0.0",
            "budget.replicaHourCost must be above 0",
        ),
        (
            "has(self.maxPerHour) || has(self.maxPerDay)",
            "budget needs maxPerHour, maxPerDay or both",
        ),
    ),
    "spec.worker": (
        (
            "has(self.template) != has(self.deploymentRef)",
            "worker needs exactly one of template and deploymentRef",
        ),
    ),
    "spec.queue.url": (
        (
            "self == oldSelf",
            "queue.url cannot change: create another DetectionQueue for another queue",
        ),
    ),
}
