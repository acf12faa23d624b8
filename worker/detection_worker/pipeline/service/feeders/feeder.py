"""A feeder: the whole pipeline of a worker but the device, in a process without torch.

Started by ``process.py`` as ``python -P -m …feeders.feeder CONTROL DEVICE PARENT``. It takes its
orders from the socket ``CONTROL`` and has units scored at the socket ``DEVICE``; both belong to
the process ``PARENT``, which it does not outlive.
"""

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import closing
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_contract.process.logs import configure
from detection_worker.errors import UsageError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.jail.sandbox import die_with
from detection_worker.media.jail.trust import trust_list_of
from detection_worker.memory import at_work
from detection_worker.metrics import Metrics
from detection_worker.pipeline.device.client import Device, DeviceLost, RemoteInference, connect
from detection_worker.pipeline.messages.settlement import MessageCounts
from detection_worker.pipeline.service.adapters import Adapters
from detection_worker.pipeline.service.feeders.channel import Channel, ChannelClosed, Packet
from detection_worker.pipeline.service.feeders.orders import (
    Begin,
    Orders,
    parse_begin,
    parse_orders,
)
from detection_worker.pipeline.service.feeders.series import families_of
from detection_worker.pipeline.service.pipeline import Pipeline
from detection_worker.pipeline.service.steering import Steering

SWITCH_INTERVAL_S: Final = 0.001
"""As in the main process: a thread that waits for a packet must not wait 5 ms for its turn."""

log = logging.getLogger(__name__)


class Feeder:
    """One feeder.

    Args:
        orders: What it is to do.
        channel: To the main process.
        device: Where units are scored; the main process may not serve it yet.
    """

    def __init__(self, orders: Orders, channel: Channel, device: socket.socket) -> None:
        self._orders = orders
        self._channel = channel
        self._device = device
        self._memory: Device | None = None
        self._metrics = Metrics()
        self._begin = threading.Event()
        self._told: Begin | None = None
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._grace_s = 0.0
        self._lost = False
        self._sending = threading.Lock()
        self._adapters = Adapters(orders.settings, orders.consumer, self._metrics)
        self._steering = Steering(
            queue_url=orders.consumer.queue_url,
            outbox=self._adapters.outbox,
            metrics=self._metrics,
            stopping=self._stop,
        )

    def run(self) -> int:
        """Work until told to stop; return the exit code.

        Raises:
            UsageError: The decoders did not start.
            DeviceLost: The main process does not talk as it should.
        """
        threading.Thread(target=self._obey, name="control", daemon=True).start()
        with (
            ProcessDecoder(
                self._orders.decoders,
                empty=self._empty,
                trust_list=trust_list_of(self._orders.settings.provenance),
            ) as decoder,
            closing(self._adapters.callback_client()) as callbacks,
        ):
            decoder.warm()
            self._begin.wait()
            if self._told is None or self._stop.is_set():
                self._say_stopped(clean=True)
                return EXIT_OK
            device = self._memory = connect(self._device)
            pipeline = Pipeline(
                self._adapters.dependencies(
                    facts=self._told.facts,
                    decoder=decoder,
                    decoders=self._orders.decoders,
                    detectors=device.detectors,
                    callbacks=callbacks,
                    inference=partial(RemoteInference, device, on_lost=self._lose),
                    device_share=1 / self._orders.feeders,
                ),
                settings=self._orders.settings,
                consumer=self._orders.consumer,
                metrics=self._metrics,
                counts=MessageCounts(),
            )
            self._steering.begin(pipeline)
            with at_work():
                return self._work(pipeline)

    def _work(self, pipeline: Pipeline) -> int:
        pipeline.start()
        outbox = self._adapters.outbox
        if outbox and self._orders.index == 0:
            outbox.sender.start()
        self._stop.wait()
        clean = self._adapters.stop(pipeline, grace_s=self._grace_s, hurry=self._hurry.is_set)
        self._say_stopped(clean=clean)
        if clean:
            pipeline.close()
        return EXIT_OK if clean and not self._lost else EXIT_FAILED

    def _say_stopped(self, *, clean: bool) -> None:
        with self._sending:
            self._channel.send({"event": "stopped", "clean": clean, **self._status()})

    def _empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Make an array in the memory that is shared with the device, once there is one."""
        device = self._memory
        return np.empty(shape, dtype) if device is None else device.memory.empty(shape, dtype)

    def _lose(self) -> None:
        """The device is gone: hand everything back and end, to be started again."""
        self._lost = True
        self._halt(grace_s=0.0)
        self._hurry.set()

    # -- the thread that obeys -----------------------------------------------------------------

    def _obey(self) -> None:
        try:
            while (packet := self._channel.receive()) is not None:
                self._answer(packet)
        except ChannelClosed:
            # The kernel ends this process with its parent; this is for a parent that lives on.
            os._exit(EXIT_FAILED)

    def _answer(self, packet: Packet) -> None:
        ask = packet["ask"]
        if ask == "begin":
            self._told = parse_begin(packet["begin"])
            if self._told.draining:
                self._steering.drain()
            self._begin.set()
        elif ask == "stop":
            self._halt(grace_s=packet["grace_s"])
        elif ask == "hurry":
            self._hurry.set()
        elif ask == "drain":
            self._steering.drain()
        elif ask == "resume":
            self._steering.resume()
        answer = self._series() if ask == "metrics" else self._status()
        with self._sending:
            self._channel.send({"n": packet["n"], **answer})

    def _halt(self, *, grace_s: float) -> None:
        self._grace_s = grace_s
        self._stop.set()
        self._begin.set()

    def _status(self) -> Packet:
        return {
            "state": self._steering.state(),
            "health": self._steering.liveness(),
            "readiness": self._steering.readiness(),
        }

    def _series(self) -> Packet:
        self._steering.refresh()
        return {"families": families_of(self._metrics.registry)}


def main() -> int:
    """Serve the worker that started this process; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the main process says when to stop, and how
        signal.signal(number, signal.SIG_IGN)
    control, device, parent_pid = (int(argument) for argument in sys.argv[1:4])
    die_with(parent_pid)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    channel = Channel(socket.socket(fileno=control))
    try:
        packet = channel.receive()
        assert packet is not None  # noqa: S101 - without a deadline there is always one
        orders = parse_orders(packet)
        _start_logging(orders)
        return Feeder(orders, channel, socket.socket(fileno=device)).run()
    except UsageError as exc:
        channel.send({"event": "failed", "text": str(exc)})
    except (ChannelClosed, DeviceLost) as exc:
        log.warning("a feeder ends: %s", exc)
    return EXIT_FAILED


def _start_logging(orders: Orders) -> None:
    """Log as the main process does; facts of each record say which feeder wrote it."""
    settings = orders.settings.logging
    configure(level=settings.level, fmt=settings.format, to_console=settings.log_to_console)
    make = logging.getLogRecordFactory()

    def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.feeder = orders.index + 1
        return record

    logging.setLogRecordFactory(made)


if __name__ == "__main__":
    sys.exit(main())
