"""The shared cache of scores: memory in front, S3 behind, and never a failed message."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from detection_contract.aws.s3_urls import S3Location
from detection_worker.cache.base import CacheError, EntryStore, StoredEntry
from detection_worker.cache.codec import BadEntry, EntryId, Scores, decode, encode
from detection_worker.cache.memory import MemoryLayer
from detection_worker.detectors.base import DetectorCard
from detection_worker.metrics import Metrics

REST_S: Final = 5.0
MAX_REST_S: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What the cache knows of an object.

    Attributes:
        scores: What was found in the object when it was as ``scores.object`` says.
        replaces: ETag of the entry in the store, if there is one.
        from_memory: The store was not asked.
    """

    scores: Scores | None = None
    replaces: str | None = None
    from_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritten:
    """An entry that only this process knows so far.

    Attributes:
        name: Its name.
        body: Its bytes.
        replaces: ETag of the entry that it replaces; None if there is none.
    """

    name: str
    body: bytes
    replaces: str | None


class ScoreCache:
    """Scores of objects that were analysed with these models and settings. Thread-safe.

    It is best effort: whatever goes wrong is counted and logged, and the object is analysed.

    Args:
        store: Where entries are.
        scoring: See ``scoring_digest``.
        cards: The loaded detectors'.
        metrics: Counts lookups and writes.
        memory: In front of the store.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: EntryStore,
        *,
        scoring: str,
        cards: Iterable[DetectorCard],
        metrics: Metrics,
        memory: MemoryLayer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._scoring = scoring
        self._cards = {card.kind: card for card in cards}
        self._metrics = metrics
        self._memory = MemoryLayer() if memory is None else memory
        self._reading = _Rest("read", clock)
        self._writing = _Rest("written", clock)

    def remembers(self, location: S3Location) -> bool:
        """Return whether an entry about the object is in memory, of whatever state of it."""
        return self._memory.get(self._id(location).name) is not None

    def find(self, location: S3Location) -> Lookup:
        """Return what is known of an object; the caller finds out whether it still is so."""
        about = self._id(location)
        stored = self._memory.get(about.name)
        from_memory = stored is not None
        if stored is None:
            stored = self._read(about.name)
        if stored is None:
            return Lookup()
        try:
            scores = decode(stored.body, about, self._cards)
        except BadEntry as exc:
            log.warning("a cache entry is of no use and is replaced: %s: %s", about.name, exc)
            self._metrics.cache_lookups.labels("damaged").inc()
            return Lookup(replaces=stored.etag)
        if not from_memory:
            self._memory.put(about.name, stored)
        return Lookup(scores=scores, replaces=stored.etag, from_memory=from_memory)

    def confirmed(self, lookup: Lookup) -> None:
        """Count scores that are used: the object is still as it was."""
        self._metrics.cache_lookups.labels("memory" if lookup.from_memory else "hit").inc()

    def outdated(self, location: S3Location) -> None:
        """Count scores of a former state of an object, and forget them."""
        self._memory.forget(self._id(location).name)
        self._metrics.cache_lookups.labels("stale").inc()

    def remember(
        self, location: S3Location, scores: Scores, *, replaces: str | None
    ) -> Unwritten | None:
        """Keep scores in memory.

        Args:
            location: The object.
            scores: What was found in its present state; what another try may better is not kept.
            replaces: As the lookup said.

        Returns:
            What is to be written for other workers; None if they are not kept.
        """
        about, writes = self._id(location), self._metrics.cache_writes
        if scores.object.etag is None or scores.main.decoded.info.provisional:
            writes.labels("unfit").inc()
            return None
        try:
            body = encode(about, scores)
        except ValueError as exc:
            log.warning("scores of %s are not cached: %s", location.key, exc)
            writes.labels("unfit").inc()
            return None
        self._memory.put(about.name, StoredEntry(body=body, etag=replaces))
        return Unwritten(name=about.name, body=body, replaces=replaces)

    def write(self, entry: Unwritten) -> None:
        """Write what was remembered for other workers; takes a few seconds at most."""
        writes = self._metrics.cache_writes
        if self._writing.rests:
            writes.labels("error").inc()
            return
        try:
            etag = self._store.put(entry.name, entry.body, replaces=entry.replaces)
        except CacheError as exc:
            self._writing.failed(exc)
            writes.labels("denied" if exc.denied else "error").inc()
            return
        self._writing.worked()
        if etag is None:
            writes.labels("lost_race").inc()
            return
        writes.labels("ok").inc()
        self._memory.put(entry.name, StoredEntry(body=entry.body, etag=etag or None))

    def _id(self, location: S3Location) -> EntryId:
        return EntryId(
            bucket=location.bucket,
            key=location.key,
            version_id=location.version_id,
            scoring=self._scoring,
        )

    def _read(self, name: str) -> StoredEntry | None:
        lookups = self._metrics.cache_lookups
        if self._reading.rests:
            lookups.labels("error").inc()
            return None
        try:
            stored = self._store.get(name)
        except CacheError as exc:
            self._reading.failed(exc)
            lookups.labels("error").inc()
            return None
        self._reading.worked()
        if stored is None:
            lookups.labels("miss").inc()
        return stored


class _Rest:
    """Leaves a store alone for a while that fails: no message waits for it. Thread-safe."""

    def __init__(self, done: str, clock: Callable[[], float]) -> None:
        self._done = done
        self._clock = clock
        self._lock = threading.Lock()
        self._until_s = -1.0
        self._pause_s = REST_S
        self._told_denied = False

    @property
    def rests(self) -> bool:
        """The store is not to be called now."""
        return self._clock() < self._until_s

    def worked(self) -> None:
        """Note a call that worked."""
        self._pause_s = REST_S

    def failed(self, exc: CacheError) -> None:
        """Note a call that failed; a lack of permission is told once."""
        with self._lock:
            if exc.denied and not self._told_denied:
                self._told_denied = True
                log.warning("the cache of scores cannot be %s: %s", self._done, exc)
            if not exc.lasts or self.rests:
                return
            pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, MAX_REST_S)
            self._until_s = self._clock() + pause_s
        log.warning(
            "the cache of scores cannot be %s: %s; trying again in %.0f s",
            self._done,
            exc,
            pause_s,
        )
