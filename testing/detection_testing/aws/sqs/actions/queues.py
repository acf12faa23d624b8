"""The SQS actions on queues: create, get, list, set attributes, purge, delete."""

from collections.abc import Callable

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.sqs.actions.messages import Action
from detection_testing.aws.sqs.actions.parameters import Answer, Parameters, queue_of, text_of
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.registry import ACCOUNT_ID, QueueRegistry
from detection_testing.http.values import Request


class QueueActions:
    """Actions on queues, each from decoded parameters to a decoded answer.

    Args:
        registry: The queues.
        clock: The server's.
        touch: Told of a queue that got messages.
    """

    def __init__(
        self, *, registry: QueueRegistry, clock: ServerClock, touch: Callable[[SqsQueue], None]
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._touch = touch

    def actions(self) -> dict[str, Action]:
        """Return the actions by name."""
        return {
            "CreateQueue": self._create,
            "DeleteQueue": self._delete,
            "GetQueueUrl": self._url,
            "ListQueues": self._list,
            "GetQueueAttributes": self._show,
            "SetQueueAttributes": self._change,
            "PurgeQueue": self._purge,
            "ListDeadLetterSourceQueues": self._sources,
        }

    def _create(self, parameters: Parameters, request: Request) -> Answer:
        name = text_of(parameters, "QueueName")
        attributes = parameters.get("Attributes") or {}
        queue = self._registry.create(name, attributes, now_s=self._clock.now_s())
        return {"QueueUrl": _url(queue, request)}

    def _delete(self, parameters: Parameters, request: Request) -> Answer:
        del request
        queue = queue_of(parameters, self._registry).queue
        self._registry.delete(queue.name, now_s=self._clock.now_s())
        return {}

    def _url(self, parameters: Parameters, request: Request) -> Answer:
        entry = self._registry.get(text_of(parameters, "QueueName"))
        return {"QueueUrl": _url(entry.queue, request)}

    def _list(self, parameters: Parameters, request: Request) -> Answer:
        prefix = parameters.get("QueueNamePrefix") or ""
        names = [n for n in self._registry.names() if n.startswith(prefix)]
        urls = [_url(self._registry.get(n).queue, request) for n in names]
        return {"QueueUrls": urls[: parameters.get("MaxResults") or 1000]} if urls else {}

    def _show(self, parameters: Parameters, request: Request) -> Answer:
        # SQS API reference, GetQueueAttributes: without names the answer is empty.
        del request
        name = queue_of(parameters, self._registry).queue.name
        wanted = parameters.get("AttributeNames") or []
        shown = self._registry.show(name, now_s=self._clock.now_s())
        if "All" not in wanted:
            shown = {n: v for n, v in shown.items() if n in wanted}
        return {"Attributes": shown} if shown else {}

    def _change(self, parameters: Parameters, request: Request) -> Answer:
        del request
        queue = queue_of(parameters, self._registry).queue
        attributes = parameters.get("Attributes") or {}
        self._registry.change(queue.name, attributes, now_s=self._clock.now_s())
        self._touch(queue)
        return {}

    def _purge(self, parameters: Parameters, request: Request) -> Answer:
        del request
        queue = queue_of(parameters, self._registry).queue
        self._registry.purge(queue.name, now_s=self._clock.now_s())
        return {}

    def _sources(self, parameters: Parameters, request: Request) -> Answer:
        arn = queue_of(parameters, self._registry).queue.arn
        return {"queueUrls": [_url(q, request) for q in self._registry.sources_of(arn)]}


def _url(queue: SqsQueue, request: Request) -> str:
    # The host by which the client reached us, so that the URL works from where it is.
    return f"http://{request.headers.get('host', '127.0.0.1')}/{ACCOUNT_ID}/{queue.name}"
