"""Warnings about a file, as a result shows them."""

from typing import Literal

from detection_contract.media_types import MediaKind, kind_of_name
from detection_contract.user_messages import counted
from detection_worker.media.streams.windows import Heard
from detection_worker.media.values import DecodeOrder, MediaStream

USUAL_SUFFIXES = {
    "jpeg": (".jpg", ".jpeg"),
    "tiff": (".tiff",),
    "mp4": (".mp4", ".mov", ".m4a"),
    "m4a": (".m4a", ".mp4"),
    "mov": (".mov", ".mp4", ".m4a"),
    "webm": (".mkv",),
    "asf": (".wmv",),
    "aac": (".m4a",),
}
"""Extensions of the contract that do not contradict a container; else its own name with a dot."""


def only_one_of(told: tuple[MediaStream, ...], kind: Literal["video", "audio"]) -> tuple[str, ...]:
    """Return the warning about streams of a kind that were not analysed, if there are any."""
    count = sum(stream.type == kind for stream in told)
    what = "videos" if kind == "video" else "sound tracks"
    return (f"only one of {count} {what} was analysed",) if count > 1 else ()


def judged_apart(heard: Heard) -> tuple[str, ...]:
    """Return the warning about channels that cancel each other, if some do."""
    if not heard.apart:
        return ()
    windows = counted(len(heard.starts_s), "window")
    return (
        f"channels cancel each other in {heard.apart} of {windows}; they were judged apart there, "
        "and the highest score counts",
    )


def warnings_of(
    order: DecodeOrder, container: str, *, kind: MediaKind, damaged: int
) -> tuple[str, ...]:
    """Return the warnings about the name of a video or sound file and about damage in it."""
    named = () if order.sound_only else mismatch(order, kind, container)
    found = list(named)
    if damaged:
        packets = counted(damaged, "damaged packet was", "damaged packets were")
        found.append(f"{packets} skipped")
    return tuple(found)


def mismatch(order: DecodeOrder, kind: MediaKind, container: str) -> tuple[str, ...]:
    """Return the warning about a name that says something else than the content, if it does."""
    usual = USUAL_SUFFIXES.get(container, (f".{container}",))
    if order.suffix and order.suffix not in usual:
        return (f"the name ends in {order.suffix}, the content is {container} ({kind})",)
    announced = kind_of_name(order.suffix) or order.announced
    if announced not in {None, kind}:
        return (f"the name announces {announced}, the content is {kind} ({container})",)
    return ()
