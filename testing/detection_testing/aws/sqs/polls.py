"""Long polling: receives are woken by a send, a release, the end of a delay or of a timeout."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.sqs.queue import SqsQueue


@dataclass(slots=True)
class _Waiting:
    queue: SqsQueue
    futures: deque[asyncio.Future[None]] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None
    timer_s: float = 0.0


class LongPolls:
    """Waiting receives by queue. Belongs to one event loop.

    Args:
        clock: The server's.
    """

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        clock.on_advance(self._wake_all)

    async def wait(self, queue: SqsQueue, *, until_s: float) -> None:
        """Return when ``queue`` may have a message, and at ``until_s`` at the latest."""
        waiting = self._waiting.setdefault(queue.arn, _Waiting(queue))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.futures.append(future)
        self._arm(waiting)
        try:
            async with asyncio.timeout(max(0.0, until_s - self._clock.now_s())):
                await future
        except TimeoutError:
            pass
        finally:
            if future in waiting.futures:
                waiting.futures.remove(future)
            self._tidy(waiting)

    def touch(self, queue: SqsQueue) -> None:
        """Look whether a change of ``queue`` lets waiting receives go on."""
        waiting = self._waiting.get(queue.arn)
        if waiting is None:
            return
        visible = queue.counts(now_s=self._clock.now_s()).visible
        while visible > 0 and waiting.futures:
            visible -= self._wake_first(waiting)
        self._arm(waiting)

    @staticmethod
    def _wake_first(waiting: _Waiting) -> int:
        future = waiting.futures.popleft()
        if future.done():
            return 0
        future.set_result(None)
        return 1

    def _wake_all(self) -> None:
        for waiting in self._waiting.values():
            while waiting.futures:
                self._wake_first(waiting)

    def _arm(self, waiting: _Waiting) -> None:
        event_s = waiting.queue.next_event_s()
        if event_s is None or not waiting.futures:
            return
        if waiting.timer is not None:
            if waiting.timer_s <= event_s:
                return
            waiting.timer.cancel()
        delay_s = max(0.0, event_s - self._clock.now_s())
        waiting.timer_s = event_s
        loop = asyncio.get_running_loop()
        waiting.timer = loop.call_later(delay_s, self._fire, waiting)

    def _fire(self, waiting: _Waiting) -> None:
        waiting.timer = None
        self.touch(waiting.queue)

    def _tidy(self, waiting: _Waiting) -> None:
        if not waiting.futures and self._waiting.get(waiting.queue.arn) is waiting:
            if waiting.timer is not None:
                waiting.timer.cancel()
            del self._waiting[waiting.queue.arn]
