"""Spans as worker and operator see them; without tracing there is none, and nothing is done."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from detection_tracing.contexts import Carrier

Kind = Literal["internal", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A step of a trace; thread-safe. As a context manager it ends with the block."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        ...

    @property
    def sampled(self) -> bool:
        """It is recorded."""
        ...

    @property
    def carrier(self) -> Carrier:
        """Its context, for others to go on from."""
        ...

    def child(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None
    ) -> "Span":
        """Begin a step of this one."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Say more about it."""
        ...

    def fail(self, code: str) -> None:
        """Note that it failed, and the code of the reason."""
        ...

    def end(self) -> None:
        """End it; only the first time counts."""
        ...

    def __enter__(self) -> Self:
        """Return itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it; an exception makes it fail with its ``code``, or the name of its class."""
        ...


class Tracing(Protocol):
    """Begins spans and exports them; thread-safe. Nothing here waits for the exporter."""

    def start(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
        *,
        parent: Carrier | None = None,
        links: Sequence[Carrier] = (),
        began_ns: int | None = None,
    ) -> Span:
        """Begin a span.

        Args:
            name: One of few: no ids, keys or URLs in it.
            kind: Its side of a call or message.
            attributes: What is known already.
            parent: It goes on from this context; None begins a trace.
            links: Contexts that it also belongs to.
            began_ns: When it began, Unix nanoseconds; None for now.
        """
        ...

    def close(self, *, timeout_s: float) -> bool:
        """Export what is left and stop; False if that took longer, and the rest was dropped."""
        ...


_OFF: Final[AbstractContextManager[None]] = nullcontext()


def within(
    parent: Span | None,
    name: str,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span | None]:
    """Return a step of ``parent``, to be used in a ``with``; nothing if there is no tracing."""
    return _OFF if parent is None else parent.child(name, kind, attributes)
