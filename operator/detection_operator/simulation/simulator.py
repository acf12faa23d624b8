"""A queue, its workers and a scaling policy, as discrete events.

Workers take the oldest message as soon as they are free. A pod costs from the moment it has a
node. A policy that shrinks either drains (idle pods go, busy ones finish first) or kills blindly,
as a ReplicaSet does that knows nothing of the work.
"""

import heapq
import itertools
import random
from collections import deque

from detection_contract.media_types import MediaKind
from detection_operator.scaling.observation import Observation, Served
from detection_operator.simulation.parts import Event, Message, Pod, rank_of
from detection_operator.simulation.workload import Workload
from detection_operator.simulation.world import EPOCH_S, Policy, Run, Sample, World

__all__ = ["EPOCH_S", "Policy", "Run", "Sample", "Simulator", "World"]


class Simulator:
    """One run of one policy on one workload."""

    def __init__(self, workload: Workload, world: World, policy: Policy) -> None:
        self._workload = workload
        self._world = world
        self._policy = policy
        self._rng = random.Random(world.seed)  # noqa: S311 - a simulation, not a secret
        self._events: list[tuple[float, int, int, object]] = []
        self._order = itertools.count()
        self._queue: deque[Message] = deque()
        self._hidden = 0
        self._pods: list[Pod] = []
        self._free: list[Pod] = []
        self._run = Run()
        self._served = [0, 0.0, 0.0]
        self._received = self._late = self._failed = self._dead = 0
        self._desired = 0
        self._waiting_since_s: float | None = None
        self._recent_age: tuple[float, float] | None = None
        self._counts: deque[tuple[float, int, int]] = deque()
        self._cold_start_s: float | None = None

    def run(self) -> Run:
        """Run to the end and return the result."""
        end_s = self.begin()
        self.advance(end_s)
        return self.finish(end_s)

    def begin(self) -> float:
        """Schedule what happens to the queue; return the time at which the run ends."""
        arrivals = self._workload.arrivals_s
        end_s = (arrivals[-1] if arrivals else 3600.0) + self._world.tail_s
        pairs = zip(arrivals, self._workload.services_s, strict=True)
        for index, (sent_s, service_s) in enumerate(pairs):
            message = Message(sent_s, service_s, index in self._workload.poison)
            self._at(sent_s, Event.ARRIVAL, message)
        for window in self._workload.no_room:
            self._at(window.end_s, Event.ROOM, None)
        self._at(0.0, Event.LOOK, None)
        return end_s

    @property
    def next_s(self) -> float:
        """Time of the next event."""
        return self._events[0][0]

    def finish(self, end_s: float) -> Run:
        """Return the result at the end."""
        for pod in self._pods:
            self._bill(pod, end_s)
        left = [*self._queue, *(message for pod in self._pods for message in pod.ahead)]
        for _, kind, _, what in self._events:
            if kind == Event.RETURN and isinstance(what, Message):
                left.append(what)
        self._run.unserved_s = [end_s - message.sent_s for message in left]
        return self._run

    def _at(self, time_s: float, kind: Event, what: object) -> None:
        heapq.heappush(self._events, (time_s, int(kind), next(self._order), what))

    def advance(self, end_s: float) -> None:
        """Let everything happen until ``end_s``, this time included."""
        events = self._events
        while events and events[0][0] <= end_s:
            now_s, kind, _, what = heapq.heappop(events)
            if kind == Event.LOOK:
                self._look(now_s)
            elif kind == Event.ROOM:
                self._place(now_s)
            elif isinstance(what, Message):
                self._hidden -= kind == Event.RETURN
                self._enqueue(what, now_s)
            elif isinstance(what, Pod) and not what.gone:
                if kind == Event.DONE:
                    self._finish(what, now_s)
                else:
                    what.ready = True
                    self._cold_start_s = now_s - (what.placed_s or 0.0)
                    self._release(what, now_s)
            if self._world.lag_s:
                self._counts.append((now_s, *self._true_counts()))

    def _enqueue(self, message: Message, now_s: float) -> None:
        self._queue.append(message)
        if not self._pods and self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if self._free:
            self._start(self._free.pop(), now_s)
        elif self._world.prefetch:
            self._fetch_ahead()

    def _fetch_ahead(self) -> None:
        """Let busy pods receive what they have room for."""
        for pod in self._pods:
            room = self._world.prefetch - len(pod.ahead)
            if pod.message is not None and not pod.draining:
                pod.ahead += [self._queue.popleft() for _ in range(min(room, len(self._queue)))]

    def _release(self, pod: Pod, now_s: float) -> None:
        """Let a free pod go or take the next message."""
        if pod.draining:
            self._remove(pod, now_s)
        elif pod.ahead or self._queue:
            self._start(pod, now_s)
        else:
            self._free.append(pod)

    def _start(self, pod: Pod, now_s: float) -> None:
        message = pod.ahead.popleft() if pod.ahead else self._queue.popleft()
        message.receives += 1
        pod.message = message
        wait_s = now_s - message.sent_s
        self._recent_age = (now_s, wait_s)
        if message.receives == 1:
            self._received += 1
            self._late += wait_s > self._world.wait_s
        self._at(now_s + message.service_s, Event.DONE, pod)
        if self._world.prefetch:
            self._fetch_ahead()

    def _finish(self, pod: Pod, now_s: float) -> None:
        message, pod.message = pod.message, None
        if message is not None and message.poison:
            self._failed += 1
            if message.receives >= self._world.max_receives:
                self._dead += 1
            else:
                self._hide(message, now_s)
        elif message is not None:
            if message.sent_s >= self._world.from_s:
                self._run.waits_s.append(now_s - message.service_s - message.sent_s)
            self._served[0] += 1
            self._served[1] += message.service_s
            self._served[2] += message.service_s**2
        self._release(pod, now_s)

    def _hide(self, message: Message, now_s: float) -> None:
        self._hidden += 1
        self._at(now_s + self._world.visibility_s, Event.RETURN, message)

    def _look(self, now_s: float) -> None:
        seen = self._observe(now_s)
        desired, next_s = self._policy.choose(seen, EPOCH_S + now_s)
        self._run.decisions += 1
        if self._waiting_since_s is not None and desired > 0:
            self._run.reactions_s.append(now_s - self._waiting_since_s)
            self._waiting_since_s = None
        self._desired = desired
        self._scale(desired, now_s)
        age_s = now_s - self._queue[0].sent_s if self._queue else 0.0
        self._run.samples.append(
            Sample(
                at_s=now_s,
                queue=len(self._queue),
                age_s=age_s,
                replicas=len(self._pods),
                ready=seen.ready,
                desired=desired,
            )
        )
        self._at(now_s + next_s, Event.LOOK, None)

    def _observe(self, now_s: float) -> Observation:
        pods = self._pods
        holding = sum(pod.message is not None for pod in pods)
        visible, in_flight = self._counted(now_s)
        finishing = sum(pod.draining and pod.message is not None for pod in pods)
        draining = sum(pod.draining for pod in pods)
        ready = sum(pod.ready and not pod.draining for pod in pods)
        homeless = [pod for pod in pods if pod.placed_s is None]
        phantom = sum(w.amount for w in self._workload.phantoms if w.start_s <= now_s < w.end_s)
        at_s, age_s = self._recent_age or (now_s, None)
        return Observation(
            sampled_at_s=EPOCH_S + now_s,
            visible=self._noisy(visible),
            in_flight=self._noisy(in_flight) + int(phantom),
            dead_letter=self._dead,
            oldest_age_s=age_s if now_s - at_s <= 30.0 else None,
            replicas=len(pods),
            ready=ready,
            starting=len(pods) - ready - draining - len(homeless),
            unschedulable=len(homeless),
            unschedulable_since_s=min((EPOCH_S + p.created_s for p in homeless), default=None),
            unschedulable_why="nvidia.com/gpu" if homeless else "",
            draining=draining,
            busy=holding - finishing,
            finishing=finishing,
            served=(self._totals(),),
            received=self._received,
            received_late=self._late,
            failed=self._failed,
            cold_start_s=self._cold_start_s,
        )

    def _true_counts(self) -> tuple[int, int]:
        """Return the visible messages and those in flight."""
        held = sum((pod.message is not None) + len(pod.ahead) for pod in self._pods)
        return len(self._queue), held + self._hidden

    def _counted(self, now_s: float) -> tuple[int, int]:
        """Return what SQS says of them now, its lag included."""
        if not self._world.lag_s:
            return self._true_counts()
        known = self._counts
        while len(known) > 1 and known[1][0] <= now_s - self._world.lag_s:
            known.popleft()
        return known[0][1:] if known and known[0][0] <= now_s - self._world.lag_s else (0, 0)

    def _totals(self) -> Served:
        count, seconds, squares = self._served
        kind = MediaKind.VIDEO
        return Served(media_type=kind, messages=int(count), seconds=seconds, squares=squares)

    def _noisy(self, count: int) -> int:
        if not count or not self._world.noise:
            return count
        return max(1, round(count * (1.0 + self._rng.gauss(0.0, self._world.noise))))

    def _scale(self, desired: int, now_s: float) -> None:
        going = sum(1 for pod in self._pods if pod.draining)
        surplus = len(self._pods) - desired
        if surplus < going:
            self._resume(going - max(surplus, 0), now_s)
        self._pods += [Pod(now_s) for _ in range(-surplus)]
        if surplus < 0:
            self._place(now_s)
        elif surplus > going:
            self._shrink(surplus - going, now_s)

    def _resume(self, count: int, now_s: float) -> None:
        for pod in [pod for pod in self._pods if pod.draining][:count]:
            pod.draining = False
            if pod.message is None and pod.ready:
                self._release(pod, now_s)

    def _place(self, now_s: float) -> None:
        if any(w.start_s <= now_s < w.end_s for w in self._workload.no_room):
            return
        for pod in self._pods:
            if pod.placed_s is None:
                pod.placed_s = now_s
                self._at(now_s + self._world.cold_start_s, Event.READY, pod)

    def _shrink(self, count: int, now_s: float) -> None:
        pods = [pod for pod in self._pods if not pod.draining]
        if self._policy.drains:
            pods.sort(key=rank_of)
        else:
            # A ReplicaSet: without node, not ready, then newer ones by coarse age: blind to work.
            self._rng.shuffle(pods)
            pods.sort(key=lambda pod: (pod.placed_s is not None, pod.ready))
        for pod in pods[:count]:
            if pod.message is None:
                self._remove(pod, now_s)
            elif self._policy.drains:
                pod.draining = True
                self._queue.extendleft(reversed(pod.ahead))
                pod.ahead.clear()
            else:
                self._run.killed_busy += 1
                for message in (pod.message, *pod.ahead):
                    self._hide(message, now_s)
                self._remove(pod, now_s)

    def _remove(self, pod: Pod, now_s: float) -> None:
        self._bill(pod, now_s)
        pod.gone = True
        self._pods.remove(pod)
        if pod in self._free:
            self._free.remove(pod)

    def _bill(self, pod: Pod, now_s: float) -> None:
        if pod.placed_s is not None:
            self._run.replica_s += max(0.0, now_s - max(pod.placed_s, self._world.from_s))
