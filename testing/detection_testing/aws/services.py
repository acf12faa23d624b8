"""All local services behind one port: routing, credentials, faults, counting."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from detection_testing.aws.callbacks import PREFIX as CALLBACK_PREFIX
from detection_testing.aws.callbacks import CallbackHttp
from detection_testing.aws.calls import RecordedCall, caller_of, resource_of
from detection_testing.aws.clock import ServerClock
from detection_testing.aws.eventbridge.buses import EventBuses
from detection_testing.aws.eventbridge.http import TARGET_PREFIX as EVENTS_PREFIX
from detection_testing.aws.eventbridge.http import EventsHttp
from detection_testing.aws.faults import Fault, FaultPlan, Injection
from detection_testing.aws.journal import JournalEvent, RecordedEvent, RecordedPublish
from detection_testing.aws.query import FORM
from detection_testing.aws.refusals import fault_error, refused
from detection_testing.aws.s3.http import S3Http
from detection_testing.aws.s3.store import S3Store
from detection_testing.aws.s3.target import target_of
from detection_testing.aws.sns.http import SnsHttp
from detection_testing.aws.sns.topics import Topics
from detection_testing.aws.sqs.http import TARGET_PREFIX, SqsHttp
from detection_testing.aws.sqs.registry import QueueRegistry
from detection_testing.aws.sqs.values import TIDY, Disorder
from detection_testing.aws.sts.credentials import CredentialStore
from detection_testing.aws.sts.http import ACTIONS as STS_ACTIONS
from detection_testing.aws.sts.http import StsHttp
from detection_testing.http.values import Delivery, Request, Response, Spoiled

_SIGNED = frozenset({"sqs", "s3", "sns", "events"})
"""Services that let nobody in without an access key; STS has its own rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How the local services behave.

    Attributes:
        require_credentials: Refuse requests that no known access key signed.
        orphan_on_disconnect: See ``SqsHttp``.
        disorder: Disorder of every queue.
        s3_folder: See ``S3Store``.
        sts_expiry_s: Life of the credentials that STS issues; None for what is asked.
        web_identity_token_file: See ``StsHttp``.
        seed: Seed of the faults.
    """

    require_credentials: bool = True
    orphan_on_disconnect: bool = True
    disorder: Disorder = TIDY
    s3_folder: Path | None = None
    sts_expiry_s: float | None = None
    web_identity_token_file: Path | None = None
    seed: int = 0


class _Route(NamedTuple):
    service: str
    operation: str
    resource: str
    act: Callable[[], Response | Awaitable[Response]]


@dataclass(slots=True)
class LocalServices:
    """The state of all services, and the handler of their one port."""

    options: LocalOptions = field(default_factory=LocalOptions)
    clock: ServerClock = field(default_factory=ServerClock)
    journal: list[JournalEvent] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    calls: list[RecordedCall] = field(default_factory=list)
    published: list[RecordedPublish] = field(default_factory=list)
    events: list[RecordedEvent] = field(default_factory=list)
    registry: QueueRegistry = field(init=False)
    faults: FaultPlan = field(init=False)
    store: S3Store = field(init=False)
    callbacks: CallbackHttp = field(init=False)
    _credentials: CredentialStore = field(init=False)
    _sqs: SqsHttp = field(init=False)
    _s3: S3Http = field(init=False)
    _sns: SnsHttp = field(init=False)
    _events: EventsHttp = field(init=False)
    _sts: StsHttp = field(init=False)

    def __post_init__(self) -> None:
        options, clock = self.options, self.clock
        self.registry = QueueRegistry(journal=self.journal, disorder=options.disorder)
        self.faults = FaultPlan(seed=options.seed)
        self.store = S3Store(options.s3_folder)
        self.callbacks = CallbackHttp(clock=clock)
        self._credentials = CredentialStore(required=options.require_credentials)
        self._sqs = SqsHttp(
            registry=self.registry, clock=clock, orphan_on_disconnect=options.orphan_on_disconnect
        )
        queues = self._sqs.delivery
        self._s3 = S3Http(store=self.store, clock=clock, queues=queues)
        topics = Topics(queues=queues, recorded=self.published)
        self._sns = SnsHttp(topics=topics, clock=clock)
        buses = EventBuses(queues=queues, recorded=self.events)
        self._events = EventsHttp(buses=buses, clock=clock)
        self._sts = StsHttp(
            credentials=self._credentials,
            clock=clock,
            expiry_s=options.sts_expiry_s,
            token_file=options.web_identity_token_file,
        )

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request to any service."""
        route = self._route(request)
        name = f"{route.service}.{route.operation}"
        self.requests[name] += 1
        number = len(self.calls)
        at_s = self.clock.now_s()
        self.calls.append(RecordedCall(at_s, name, route.resource, caller_of(request)))
        route = route._replace(act=partial(self._act, route, number))
        answer = self._carry_out(route, name, request)
        if not isinstance(answer, Response):
            return self._later(number, answer)
        self._note(number, answer)
        return answer

    def _act(self, route: _Route, number: int) -> Response | Awaitable[Response]:
        self.calls[number] = self.calls[number]._replace(carried_out=True)
        return route.act()

    async def _later(self, number: int, answer: Awaitable[Response]) -> Response:
        response = await answer
        self._note(number, response)
        return response

    def _note(self, number: int, response: Response) -> None:
        self.calls[number] = self.calls[number]._replace(status=response.status)

    def _carry_out(
        self, route: _Route, name: str, request: Request
    ) -> Response | Awaitable[Response]:
        if route.service in _SIGNED:
            refusal = self._credentials.refusal(request, now_s=self.clock.now_s())
            if refusal is not None:
                return refused(route.service, refusal, request)
        injection = self.faults.draw(name, request.path)
        if injection is None:
            return route.act()
        self.requests[f"{name} (fault)"] += 1
        return _inject(route, injection, request)

    def _route(self, request: Request) -> _Route:
        target = request.headers.get("x-amz-target", "")
        if target.startswith(TARGET_PREFIX):
            operation = target.removeprefix(TARGET_PREFIX)
            return _of("sqs", operation, request, lambda: self._sqs.handle(operation, request))
        if target.startswith(EVENTS_PREFIX):
            operation = target.removeprefix(EVENTS_PREFIX)
            return _of(
                "events", operation, request, lambda: self._events.handle(operation, request)
            )
        if request.path.startswith(CALLBACK_PREFIX + "/"):
            behaviour = request.path.removeprefix(CALLBACK_PREFIX + "/").partition("/")[0]
            return _of("callback", behaviour, request, lambda: self.callbacks.handle(request))
        if request.headers.get("content-type", "").startswith(FORM) and request.path == "/":
            action = request.form().get("Action", "")
            if action in STS_ACTIONS:
                return _of("sts", action, request, lambda: self._sts.handle(action, request))
            if action in self._sns.actions:
                return _of("sns", action, request, lambda: self._sns.handle(action, request))
        s3 = target_of(request)
        path = f"{s3.bucket}/{s3.key}" if s3.key else s3.bucket
        return _Route("s3", s3.operation, path, lambda: self._s3.handle(s3, request))


def _of(
    service: str,
    operation: str,
    request: Request,
    act: Callable[[], Response | Awaitable[Response]],
) -> _Route:
    return _Route(service, operation, resource_of(service, request), act)


async def _inject(route: _Route, injection: Injection, request: Request) -> Response:
    if injection.delay_s:
        await asyncio.sleep(injection.delay_s)
    fault = injection.fault
    operation = f"{route.service}.{route.operation}"
    refusal = None if fault is None else fault_error(operation, fault, request)
    if refusal is not None:
        return refusal
    if fault is not None and fault.kind == "reset":
        return Response(delivery=Delivery(reset=True))
    if fault is not None and fault.kind == "partial":
        request.spoiled = Spoiled(fault.entries, fault.code or "")
    pending = route.act()
    response = pending if isinstance(pending, Response) else await pending
    if fault is not None:
        response.delivery = _delivery(fault, response, stall_s=injection.stall_s)
    return response


def _delivery(fault: Fault, response: Response, *, stall_s: float) -> Delivery:
    if fault.kind == "drop_response":
        return Delivery(drop=True)
    if fault.kind not in ("truncate", "stall"):
        return response.delivery  # the fault is of another service
    after = response.body_bytes // 2 if fault.after_bytes is None else fault.after_bytes
    if fault.kind == "truncate":
        return Delivery(stop_after_bytes=after)
    return dataclasses.replace(response.delivery, stall_after_bytes=after, stall_s=stall_s)
