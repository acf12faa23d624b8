"""The rules that no bound can say, in CEL, by the path of the object that they look at.

The API server also checks the default ``{}`` of an object by these rules, before the defaults
inside it are filled in. Every rule therefore asks ``has()`` first, even where there is a default.
Costs stay small because every string and list is bounded.
"""

from typing import Final

from detection_contract.aws.sqs_urls import URL_REGION_PATTERN
from detection_operator.spec.fields import ADDRESS_PATTERN, ADDRESS_RULE, POOL_NAME_MAX
from detection_operator.spec.results import NO_BUCKET_PATTERN

Rules = tuple[tuple[str, str], ...]
"""Each an expression and what its breach says."""
NAME_MAX: Final = 52
"""Longest name of a DetectionQueue: pods add a hash of 11 characters, labels end at 63."""

ROOT_RULES: Final[Rules] = (
    (
        f"self.metadata.name.size() <= {NAME_MAX}",
        f"metadata.name may have at most {NAME_MAX} characters: pods are named after it",
    ),
)

_RESULTS: Final = "self.worker.template.results"
_NO_RESULTS: Final = (
    "!has(self.worker) || !has(self.worker.template) || !has(self.worker.template.results)"
)
_EMPTY: Final = "''"


def _outbox_is_not(url: str) -> str:
    """Return the rule that the outbox is another queue than the one of ``url``."""
    outbox = f"{_RESULTS}.outboxURL"
    return f"{_NO_RESULTS} || !has({outbox}) || !has({url}) || {outbox} != {url}"


def _or(field: str, default: str) -> str:
    return f"(has({field}) ? {field} : {default})"


_ARNS: Final = f"({_or(f'{_RESULTS}.onSuccess', '[]')} + {_or(f'{_RESULTS}.onFailure', '[]')})"
_QUEUES: Final = (
    f"[{_or('self.queue.url', _EMPTY)}, {_or('self.queue.deadLetterQueue', _EMPTY)},"
    f" {_or(f'{_RESULTS}.outboxURL', _EMPTY)}]"
)
_NO_DESTINATION_IS_A_QUEUE: Final = (
    f"{_NO_RESULTS} || !has(self.queue) || !{_ARNS}.exists(arn, arn.contains(':sqs:')"
    f" && {_QUEUES}.exists(url, url.endsWith('/' + arn.split(':')[4] + '/' + arn.split(':')[5])"
    f" && ({_or('self.queue.region', _EMPTY)} == arn.split(':')[3]"
    " || url.contains('.' + arn.split(':')[3] + '.')"
    " || url.contains('/' + arn.split(':')[3] + '.'))))"
)
"""As far as a URL names its region: the first host of SQS and emulators do not."""

RULES: Final[dict[str, Rules]] = {
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
        (
            _outbox_is_not("self.queue.url"),
            "worker.template.results.outboxURL must differ from queue.url",
        ),
        (
            _outbox_is_not("self.queue.deadLetterQueue"),
            "worker.template.results.outboxURL must differ from queue.deadLetterQueue",
        ),
        (
            _NO_DESTINATION_IS_A_QUEUE,
            "worker.template.results may not notify the queue itself, its dead-letter queue or the"
            " outbox",
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
        (
            "!has(self.pool) || !has(self.pool.guaranteed) || !has(self.maxReplicas)"
            " || self.pool.guaranteed <= self.maxReplicas",
            "scaling.pool.guaranteed is above scaling.maxReplicas",
        ),
        (
            "!has(self.pool) || !has(self.pool.borrow) || self.pool.borrow"
            " || !has(self.pool.guaranteed) || !has(self.minReplicas)"
            " || self.minReplicas <= self.pool.guaranteed",
            "scaling.minReplicas is above scaling.pool.guaranteed, and scaling.pool.borrow is"
            " false",
        ),
    ),
    "spec.scaling.pool": (
        (
            "!has(self.borrow) || self.borrow || (has(self.guaranteed) && self.guaranteed > 0)",
            "scaling.pool.guaranteed must be above 0 when scaling.pool.borrow is false",
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
    "spec.worker.template.results": (
        (
            "has(self.url) || !has(self.keyTemplate)",
            "results.keyTemplate has no meaning without results.url",
        ),
        (
            "has(self.url) || !has(self.pages) || !self.pages",
            "results.pages has no meaning without results.url",
        ),
        (
            "!has(self.pages) || !self.pages || !has(self.keyTemplate)"
            " || self.keyTemplate.endsWith('.json')",
            "results.pages needs a results.keyTemplate that ends in .json",
        ),
        (
            "has(self.url) || !has(self.kmsKeyID)",
            "results.kmsKeyID has no meaning without results.url",
        ),
        (
            "has(self.url) || has(self.cacheURL) || !has(self.bucketOwner)",
            "results.bucketOwner has no meaning without results.url and results.cacheURL",
        ),
        (
            "!has(self.keyTemplate) || self.keyTemplate.contains('{request_id}')"
            " || (self.keyTemplate.contains('{message_id}')"
            " && self.keyTemplate.contains('{index}'))",
            "results.keyTemplate needs {request_id}, or {message_id} and {index}: otherwise"
            " results overwrite each other",
        ),
        (
            "!has(self.keyTemplate)"
            " || !self.keyTemplate.matches('(^|/)[.][.]?(/|$)|[[:cntrl:]]|^ | $')",
            "results.keyTemplate has a folder . or .., a control character or a blank at its end",
        ),
        *(
            (
                f"!has(self.{name}) || !self.{name}.matches('{NO_BUCKET_PATTERN}')",
                f"results.{name} has a bucket name that S3 does not allow",
            )
            for name in ("url", "cacheURL")
        ),
        *(
            (
                f"!has(self.{name}) || !self.{name}.matches('/[.][.]?(/|$)')",
                f"results.{name} has a folder . or ..",
            )
            for name in ("url", "cacheURL")
        ),
        (
            "!has(self.url) || !has(self.cacheURL)"
            " || !(self.url + (self.url.endsWith('/') ? '' : '/'))"
            ".startsWith(self.cacheURL + (self.cacheURL.endsWith('/') ? '' : '/'))",
            "results.url lies below results.cacheURL, where objects may expire",
        ),
        (
            "!has(self.outboxURL) || !self.outboxURL.endsWith('.fifo')",
            "results.outboxURL is a FIFO queue: SQS cannot delay its messages one by one",
        ),
    ),
    "spec.queue.url": (
        (
            "self == oldSelf",
            "queue.url cannot change: create another DetectionQueue for another queue",
        ),
    ),
}

POOL_ROOT_RULES: Final[Rules] = (
    (
        f"self.metadata.name.size() <= {POOL_NAME_MAX}",
        f"metadata.name may have at most {POOL_NAME_MAX} characters, as scaling.pool.name",
    ),
)
_SOURCES: Final = ("replicas", "resource", "fromResourceQuota", "fromNodes")
POOL_RULES: Final[dict[str, Rules]] = {
    "spec.capacity": (
        (
            f"[{', '.join(f'has(self.{name})' for name in _SOURCES)}].filter(given, given).size()"
            " == 1",
            "capacity needs exactly one of replicas, resource, fromResourceQuota and fromNodes",
        ),
    ),
}
