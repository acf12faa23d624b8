"""The process that owns the device: takes units from feeders, scores them together, answers."""

import logging
import os
import selectors
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from detection_contract.media_types import MediaKind
from detection_tracing.contexts import TRACEPARENT
from detection_tracing.port import Tracing
from detection_worker.detectors.base import Detector, ScoredTrack
from detection_worker.pipeline.device.cards import welcome_body
from detection_worker.pipeline.device.checks import check, media_at
from detection_worker.pipeline.device.link import MAX_TICKETS, Link, RemoteTicket
from detection_worker.pipeline.device.memory import BadMemory, mapped
from detection_worker.pipeline.device.wire import (
    MAX_PACKET_BYTES,
    BadPacket,
    FileScores,
    FoundUnits,
    Packet,
    Request,
    Says,
    TrackScores,
    UnitsAt,
    failure_body,
    in_parts,
    pack,
    parse,
    parse_request,
    scores_body,
)
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, Unscored
from detection_worker.pipeline.stages.inference import WAITING_BYTES, InferenceStage

PACKETS_AT_ONCE: Final = 64
"""Read from one feeder before the others have their turn."""
_UNLIMITED: Final = 0
"""As the capacity of the stage: feeders have limits of their own, and the reader may not wait."""

log = logging.getLogger(__name__)


class DeviceServer:
    """Scores what feeders send, units of all of them together.

    One thread reads every feeder's packets, the stage's thread scores and answers.

    Args:
        detectors: Loaded, by media kind.
        max_units: Most units in one forward pass.
        max_wait_s: How long an idle device waits for units that are being decoded.
        memory_bytes: Shared memory that each feeder gets.
        on_batch: Called with the number of units in each forward pass.
        tracing: As for ``InferenceStage``.
    """

    def __init__(
        self,
        detectors: Mapping[MediaKind, Detector],
        *,
        max_units: int,
        max_wait_s: float,
        memory_bytes: int = WAITING_BYTES,
        on_batch: Callable[[int], None] = lambda _: None,
        tracing: Tracing | None = None,
    ) -> None:
        self._detectors = dict(detectors)
        self._memory_bytes = memory_bytes
        self._links: set[Link] = set()
        self._numbers = 0
        self._todo: deque[Callable[[], None]] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._buffer = bytearray(MAX_PACKET_BYTES)
        self._stopping = False
        self._stage: InferenceStage[RemoteTicket] = InferenceStage(
            max_units=max_units,
            max_wait_s=max_wait_s,
            more_coming=lambda: any(link.more_coming for link in list(self._links)),
            on_scored=_answer,
            on_progress=_tell,
            on_batch=on_batch,
            capacity=_UNLIMITED,
            capacity_bytes=sys.maxsize,
            tracing=tracing,
        )
        self._thread = threading.Thread(target=self._run, name="feeders", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<DeviceServer feeders={self.feeders} {self._stage!r}>"

    @property
    def alive_s(self) -> float:
        """When the device's thread last gave a sign of life, on ``time.monotonic``."""
        return self._stage.alive_s

    @property
    def busy(self) -> int:
        """Files in the forward pass."""
        return self._stage.busy

    @property
    def waiting(self) -> int:
        """Files that wait in front of the batcher."""
        return self._stage.waiting

    @property
    def feeders(self) -> int:
        """Feeders that are connected."""
        return len(self._links)

    def connect(self) -> socket.socket:
        """Return a feeder's end of a new connection, for a child process to inherit."""
        ours, theirs = feeder_sockets()
        self.attach(ours)
        return theirs

    def attach(self, sock: socket.socket, *, number: int | None = None) -> None:
        """Serve a feeder; its end, from ``feeder_sockets``, may be in use already.

        Args:
            sock: The server's end; it is taken over.
            number: The feeder's in log lines; None counts connections.
        """
        self._do(lambda: self._add(sock, number))

    def close(self, *, timeout_s: float | None = None) -> bool:
        """Score what waits, answer it, then stop; feeders still connected see the end.

        Args:
            timeout_s: As for ``InferenceStage.close``.

        Returns:
            False if a forward pass was left behind; nothing is closed then.
        """
        if not self._stage.close(timeout_s=timeout_s):
            return False
        self._do(self._stop)
        self._thread.join()
        self._selector.close()
        os.close(self._wake_fd)
        return True

    # -- the reader's thread -------------------------------------------------------------------

    def _do(self, what: Callable[[], None]) -> None:
        self._todo.append(what)
        os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        while not self._stopping:
            for key, events in self._selector.select():
                try:
                    if key.data is None:
                        self._work_off()
                    else:
                        self._serve(key.data, events)
                except Exception:
                    # A bug that one feeder brings to light must not end the others.
                    log.exception("serving a feeder failed")
                    if key.data is not None:
                        self._drop(key.data)

    def _work_off(self) -> None:
        os.eventfd_read(self._wake_fd)
        while self._todo:
            self._todo.popleft()()

    def _add(self, sock: socket.socket, number: int | None) -> None:
        self._numbers += 1
        number = number or self._numbers
        try:
            link = Link(
                sock, number=number, memory_bytes=self._memory_bytes, on_full=self._when_writable
            )
        except OSError as exc:
            log.warning("feeder %d cannot be served: %s", number, exc, extra={"feeder": number})
            return
        self._links.add(link)
        self._selector.register(sock, selectors.EVENT_READ, link)
        try:
            link.welcome(welcome_body(self._detectors))
        except OSError:
            self._drop(link)

    def _when_writable(self, link: Link) -> None:
        """Have the reader's thread send what the socket did not take; called by any thread."""

        def watch() -> None:
            if link in self._links:
                self._selector.modify(
                    link.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, link
                )

        self._do(watch)

    def _serve(self, link: Link, events: int) -> None:
        if events & selectors.EVENT_WRITE and link.flush():
            self._selector.modify(link.sock, selectors.EVENT_READ, link)
        if events & selectors.EVENT_READ:
            for _ in range(PACKETS_AT_ONCE):
                if not self._receive(link):
                    return

    def _receive(self, link: Link) -> bool:
        """Take one packet; False if there is no more for now, or ever."""
        try:
            with link.received(self._buffer) as (data, fds):
                if not len(data):
                    self._drop(link)
                    return False
                self._obey(link, parse(data), fds)
        except BlockingIOError:
            return False
        except (BadPacket, BadMemory) as exc:
            # As text: the exception holds on to what the feeder sent.
            log.warning(
                "feeder %d is disconnected: it broke the protocol: %s",
                link.number,
                str(exc),
                extra=link.facts,
            )
            self._drop(link)
            return False
        except ConnectionError:  # it was killed
            self._drop(link)
            return False
        except OSError as exc:
            log.warning("feeder %d is disconnected: %s", link.number, exc, extra=link.facts)
            self._drop(link)
            return False
        return True

    def _obey(self, link: Link, packet: Packet, fds: Sequence[int]) -> None:
        if packet.says is Says.SCORE:
            link.more_coming = packet.more
            self._put(link, packet.ticket, parse_request(packet.body), fds)
        elif packet.says is Says.CANCEL:
            if ticket := link.tickets.get(packet.ticket):
                ticket.cancelled = True
        else:
            raise BadPacket(f"it may not say {packet.says.name}")

    def _put(self, link: Link, number: int, request: Request, fds: Sequence[int]) -> None:
        if number in link.tickets or len(link.tickets) >= MAX_TICKETS:
            raise BadPacket("too many files, or a number that is in use")
        left = list(fds)
        main, *sound = [self._track(link, at, left) for at in request.tracks]
        trace = request.traceparent
        ticket = RemoteTicket(
            link=link,
            number=number,
            request_id=request.request_id,
            carrier=None if trace is None else {TRACEPARENT: trace},
        )
        link.tickets[number] = ticket
        self._stage.put(Decoded(ticket=ticket, main=main, sound=sound[0] if sound else None))

    def _track(self, link: Link, at: UnitsAt, fds: list[int]) -> DecodedTrack:
        detector = self._detectors.get(at.kind)
        if detector is None:
            raise BadPacket(f"there is no detector for {at.kind.value}")
        check(at, detector)
        if at.own and not fds:
            raise BadPacket("a descriptor is missing")
        memory = mapped(fds.pop(0)) if at.own else link.memory
        return DecodedTrack(media=media_at(at, memory), detector=detector)

    def _drop(self, link: Link) -> None:
        if link in self._links:
            self._links.discard(link)
            self._selector.unregister(link.sock)
            link.close()

    def _stop(self) -> None:
        self._stopping = True
        for link in list(self._links):
            link.flush()
            self._drop(link)


def feeder_sockets() -> tuple[socket.socket, socket.socket]:
    """Return the server's and the feeder's end of a connection.

    A feeder can be started with its end before the detectors are loaded: it is welcomed once the
    server's end is attached.
    """
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


# -- the device's thread ---------------------------------------------------------------------


def _answer(ticket: RemoteTicket, outcome: Scored[RemoteTicket] | Unscored | None) -> None:
    ticket.link.tickets.pop(ticket.number, None)
    if outcome is None:
        packets = [pack(Says.DROPPED, ticket=ticket.number)]
    elif isinstance(outcome, Unscored):
        body = failure_body(outcome.failure, seconds=outcome.seconds)
        packets = in_parts(Says.FAILED, ticket=ticket.number, body=body)
    else:
        packets = in_parts(Says.SCORED, ticket=ticket.number, body=scores_body(_scores(outcome)))
    ticket.link.send(packets)


def _tell(ticket: RemoteTicket) -> None:
    ticket.link.tell(pack(Says.PROGRESS, ticket=ticket.number))


def _scores(scored: Scored[RemoteTicket]) -> FileScores:
    tracks = (scored.main,) if scored.sound is None else (scored.main, scored.sound)
    return FileScores(tracks=tuple(_track_scores(t) for t in tracks), seconds=scored.seconds)


def _track_scores(scored: ScoredTrack) -> TrackScores:
    media = scored.decoded
    found = None
    if media.faces is not None:
        found = FoundUnits(frame=media.frame, boxes=media.boxes, faces=media.faces)
    return TrackScores(logits=scored.logits, found=found)
