"""What one step hands over to the next on a file's way from decoding to a verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from detection_tracing.contexts import Carrier
from detection_worker.core.messages.outcome import Failure
from detection_worker.detectors.base import Detector, ScoredTrack
from detection_worker.media.values import DecodedMedia


class Ticket(Protocol):
    """What a file is scored for: a job of a message, or a file that a user named."""

    @property
    def request_id(self) -> str:
        """Names it in results and logs."""
        ...

    @property
    def cancelled(self) -> bool:
        """The result is no longer wanted."""
        ...

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it."""
        ...

    @property
    def carrier(self) -> Carrier | None:
        """The context of the span of its scoring; None without tracing."""
        ...


T = TypeVar("T", bound=Ticket)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedTrack:
    """Units and the detector that scores them.

    Attributes:
        media: As the decoder gave it.
        detector: The loaded one of its kind.
    """

    media: DecodedMedia
    detector: Detector


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded(Generic[T]):
    """A decoded file, for the inference stage.

    Attributes:
        ticket: What it is scored for.
        main: The file, for a video its pictures.
        sound: The sound of a video, if that is scored too.
    """

    ticket: T
    main: DecodedTrack
    sound: DecodedTrack | None = None

    @property
    def tracks(self) -> tuple[DecodedTrack, ...]:
        """In the order in which they are scored."""
        return (self.main,) if self.sound is None else (self.main, self.sound)

    @property
    def size_bytes(self) -> int:
        """Memory that its units take."""
        return sum(track.media.units.nbytes for track in self.tracks)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored(Generic[T]):
    """A file with the scores of its units.

    Attributes:
        ticket: What it was scored for.
        main: The file, for a video its pictures.
        sound: The sound of a video, if that was scored too.
        seconds: Its share of the device's time.
    """

    ticket: T
    main: ScoredTrack
    sound: ScoredTrack | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """A file that failed on the device.

    Attributes:
        failure: Why.
        seconds: Its share of the device's time until then.
    """

    failure: Failure
    seconds: float


class Inference(Protocol[T]):
    """Scores decoded files: in this process, or in the one that owns the device."""

    @property
    def alive_s(self) -> float:
        """When it last gave a sign of life, on ``time.monotonic``."""
        ...

    @property
    def busy(self) -> int:
        """Files in the forward pass."""
        ...

    @property
    def waiting(self) -> int:
        """Files that wait for their turn."""
        ...

    def put(self, decoded: Decoded[T]) -> None:
        """Score a decoded file; blocks while too many or too large ones wait."""
        ...

    def close(self, *, timeout_s: float) -> bool:
        """Score what waits, then stop; False if a pass goes on after so many seconds."""
        ...


class MakeInference(Protocol[T]):
    """Makes the ``Inference`` of a pipeline."""

    def __call__(
        self,
        *,
        decoding: Callable[[], int],
        on_scored: Callable[[T, Scored[T] | Unscored | None], None],
        on_progress: Callable[[T], None],
    ) -> Inference[T]:
        """Return a running one.

        Args:
            decoding: Says how many files wait for decoding or are decoded, with those that are
                being put in.
            on_scored: Called for each file with its scores, with why it failed, or with None if
                its result is no longer wanted. Quick: it runs on the only thread.
            on_progress: Called for each file that got ahead.
        """
        ...
