"""What a feeder is told: at its start, and once the models are loaded and the queue is read."""

from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pydantic import TypeAdapter

from detection_worker.core.feeders.count import share
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import QueueFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """A feeder's first packet.

    Attributes:
        settings: The worker's.
        consumer: The feeder's: its part of what the worker may use.
        decoders: Its decoding processes.
        index: Which feeder it is, from 0; the first one sends the outbox.
        feeders: How many there are.
    """

    settings: Settings
    consumer: ConsumerSettings
    decoders: int
    index: int
    feeders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Begin to work.

    Attributes:
        facts: Read from the queue.
        draining: Receive nothing until told to.
    """

    facts: QueueFacts
    draining: bool


_ORDERS: Final = TypeAdapter(Orders)
_BEGIN: Final = TypeAdapter(Begin)


def orders_of(
    settings: Settings, consumer: ConsumerSettings, *, decoders: int, index: int, feeders: int
) -> Orders:
    """Return the orders of one feeder.

    Args:
        settings: The worker's.
        consumer: The worker's; disk and decoders are divided, the rest is for each feeder.
        decoders: All of the worker's decoding processes.
        index: Which feeder, from 0.
        feeders: How many there are.
    """
    disk = share(consumer.max_bytes_in_flight, feeders=feeders, index=index)
    return Orders(
        settings=settings,
        consumer=replace(consumer, max_bytes_in_flight=disk),
        decoders=share(decoders, feeders=feeders, index=index),
        index=index,
        feeders=feeders,
    )


def packed(told: Orders | Begin) -> dict[str, Any]:
    """Return a packet."""
    adapter: TypeAdapter[Any] = _ORDERS if isinstance(told, Orders) else _BEGIN
    return cast(dict[str, Any], adapter.dump_python(told, mode="json"))


def parse_orders(packet: dict[str, Any]) -> Orders:
    """Return the orders in a packet of ``packed``."""
    return _ORDERS.validate_python(packet)


def parse_begin(packet: dict[str, Any]) -> Begin:
    """Return the word to begin in a packet of ``packed``."""
    return _BEGIN.validate_python(packet)
