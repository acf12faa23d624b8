"""The cache as the pipeline sees it, over a scripted store: best effort, counted, never slow."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from detection_contract.aws.s3_urls import S3Location
from detection_worker.cache.base import CacheError, StoredEntry
from detection_worker.cache.codec import Scores
from detection_worker.cache.scores import MAX_REST_S, REST_S, ScoreCache
from detection_worker.metrics import Metrics


def keep(
    cache: ScoreCache,
    scores: Scores,
    *,
    replaces: str | None,
    where: S3Location | None = None,
) -> None:
    entry = cache.remember(where or WHERE, scores, replaces=replaces)
    if entry is not None:
        cache.write(entry)


WHERE = S3Location(bucket="media", key="a.png")


class Store:
    """Entries in a dictionary, with ETags that count up."""

    def __init__(self) -> None:
        self.entries: dict[str, StoredEntry] = {}
        self.calls: list[str] = []
        self.error: CacheError | None = None

    def get(self, name: str) -> StoredEntry | None:
        self._called("get")
        return self.entries.get(name)

    def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        self._called("put")
        old = self.entries.get(name)
        if (old.etag if old else None) != replaces:
            return None
        etag = f'"{len(self.calls)}"'
        self.entries[name] = StoredEntry(body=body, etag=etag)
        return etag

    def damage(self) -> None:
        for name, entry in self.entries.items():
            self.entries[name] = replace(entry, body=entry.body[:-10])

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def example(examples: Any) -> Any:
    return examples["image"]


@pytest.fixture
def new_cache(
    store: Store, now: list[float], metrics: Metrics, example: Any
) -> Callable[[], ScoreCache]:
    def make() -> ScoreCache:
        return ScoreCache(
            store,
            scoring="5" * 64,
            cards=example.cards.values(),
            metrics=metrics,
            clock=lambda: now[0],
        )

    return make


@pytest.fixture
def cache(new_cache: Callable[[], ScoreCache]) -> ScoreCache:
    return new_cache()


def count(metrics: Metrics, what: str, result: str) -> float:
    name = f"detection_worker_cache_{what}_total"
    return metrics.registry.get_sample_value(name, {"result": result}) or 0.0


def test_what_is_put_is_found_here_and_by_another_worker(
    new_cache: Callable[[], ScoreCache], store: Store, metrics: Metrics, example: Any
) -> None:
    here, there = new_cache(), new_cache()
    assert here.find(WHERE).scores is None
    keep(here, example.scores, replaces=None)

    mine, theirs = here.find(WHERE), there.find(WHERE)
    here.confirmed(mine)
    there.confirmed(theirs)

    assert (mine.from_memory, theirs.from_memory) == (True, False)
    assert mine.scores is not None
    assert theirs.scores is not None
    assert mine.scores.object == theirs.scores.object == example.scores.object
    assert mine.replaces == theirs.replaces == '"2"'
    assert store.calls == ["get", "put", "get"]
    assert [count(metrics, "lookups", r) for r in ("miss", "memory", "hit")] == [1, 1, 1]
    assert count(metrics, "writes", "ok") == 1
    assert there.remembers(WHERE)


def test_a_version_is_an_object_of_its_own(cache: ScoreCache, example: Any) -> None:
    keep(cache, example.scores, replaces=None)

    assert cache.find(replace(WHERE, version_id="v")).scores is None
    assert cache.find(replace(WHERE, region="eu-west-1")).scores is not None


def test_a_damaged_entry_is_replaced(
    new_cache: Callable[[], ScoreCache], store: Store, metrics: Metrics, example: Any
) -> None:
    keep(new_cache(), example.scores, replaces=None)
    store.damage()

    other = new_cache()
    found = other.find(WHERE)
    assert (found.scores, found.replaces) == (None, '"1"')
    assert not other.remembers(WHERE)
    keep(other, example.scores, replaces=found.replaces)

    assert new_cache().find(WHERE).scores is not None
    assert count(metrics, "lookups", "damaged") == 1


def test_outdated_scores_are_forgotten_and_replaced(
    cache: ScoreCache, metrics: Metrics, example: Any
) -> None:
    keep(cache, example.scores, replaces=None)
    found = cache.find(WHERE)

    cache.outdated(WHERE)
    assert not cache.remembers(WHERE)
    newer = replace(example.scores, object=replace(example.scores.object, etag="newer"))
    keep(cache, newer, replaces=found.replaces)

    again = cache.find(WHERE)
    assert again.scores is not None
    assert again.scores.object.etag == "newer"
    assert count(metrics, "lookups", "stale") == 1
    assert count(metrics, "writes", "ok") == 2


def test_the_slower_of_two_writers_gives_way(
    new_cache: Callable[[], ScoreCache], store: Store, metrics: Metrics, example: Any
) -> None:
    keep(new_cache(), example.scores, replaces=None)
    slower = new_cache()

    keep(slower, example.scores, replaces=None)

    assert count(metrics, "writes", "lost_race") == 1
    assert slower.remembers(WHERE)
    assert store.calls == ["put", "put"]


def test_scores_that_another_try_may_better_are_not_kept(
    cache: ScoreCache, store: Store, metrics: Metrics, example: Any
) -> None:
    main = example.scores.main
    info = replace(main.decoded.info, provisional=True)
    shaky = replace(main, decoded=replace(main.decoded, info=info))
    unnamed = replace(example.scores, object=replace(example.scores.object, etag=None))
    huge = replace(example.scores.object, content_type="x" * (1 << 20))

    keep(cache, replace(example.scores, main=shaky), replaces=None)
    keep(cache, unnamed, replaces=None)
    keep(cache, replace(example.scores, object=huge), replaces=None)

    assert store.calls == []
    assert not cache.remembers(WHERE)
    assert count(metrics, "writes", "unfit") == 3


def test_a_store_that_fails_is_left_alone_for_longer_and_longer(
    cache: ScoreCache, store: Store, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    store.error = CacheError("S3 answered 503")
    for _ in range(600):
        assert cache.find(WHERE).scores is None
        now[0] += 1.0

    # At once, after 5, 15, 35 and 75 s, then once a minute.
    assert 12 <= len(store.calls) <= 14
    assert caplog.messages[0] == (
        "the cache of scores cannot be read: S3 answered 503; trying again in 5 s"
    )

    store.error = None
    now[0] += MAX_REST_S
    cache.find(WHERE)
    store.error = CacheError("S3 answered 503")
    cache.find(WHERE)
    now[0] += REST_S
    store.error, before = None, len(store.calls)
    cache.find(WHERE)
    assert len(store.calls) == before + 1


def test_reading_goes_on_where_only_writing_fails(
    cache: ScoreCache, store: Store, metrics: Metrics, example: Any
) -> None:
    store.error = CacheError("denied", denied=True)
    for key in ("a", "b", "c"):
        keep(cache, example.scores, replaces=None, where=replace(WHERE, key=key))
    store.error = None

    assert cache.find(replace(WHERE, key="d")).scores is None
    assert cache.find(replace(WHERE, key="a")).scores is not None
    assert store.calls == ["put", "get"]
    assert (count(metrics, "writes", "denied"), count(metrics, "writes", "error")) == (1, 2)
    assert count(metrics, "lookups", "miss") == 1


def test_a_permission_that_is_missing_is_told_once(
    cache: ScoreCache, store: Store, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store.error = CacheError("access is denied (AccessDenied)", denied=True, lasts=False)
    for _ in range(5):
        assert cache.find(WHERE).scores is None

    told = "the cache of scores cannot be read: access is denied (AccessDenied)"
    assert caplog.messages == [told]
    assert store.calls == ["get"] * 5
    assert count(metrics, "lookups", "error") == 5
