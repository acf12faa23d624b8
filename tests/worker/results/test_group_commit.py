import itertools
import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.results import group_commit
from detection_worker.results.group_commit import GroupCommit


class Calls:
    """Notes the batches that were sent; entries called ``bad…`` fail."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.batches: list[list[str]] = []
        self.lock = threading.Lock()
        self.pause_s = pause_s

    def send(self, entries: Sequence[str]) -> list[Exception | None]:
        with self.lock:
            self.batches.append(list(entries))
        time.sleep(self.pause_s)
        return [ValueError(entry) if entry.startswith("bad") else None for entry in entries]


def commit_of(calls: Calls, *, linger_s: float = 0.02, max_bytes: int = 100) -> GroupCommit[str]:
    return GroupCommit(
        calls.send, size_bytes=len, max_entries=10, max_bytes=max_bytes, linger_s=linger_s
    )


def put_all(commit: GroupCommit[str], entries: Sequence[str]) -> dict[str, Exception | None]:
    """Put every entry from a thread of its own, all at once."""
    outcomes: dict[str, Exception | None] = {}
    start = threading.Barrier(len(entries))

    def put(entry: str) -> None:
        start.wait()
        try:
            commit.put(entry)
        except ValueError as exc:
            outcomes[entry] = exc
        else:
            outcomes[entry] = None

    threads = [threading.Thread(target=put, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


def test_a_lone_entry_is_sent_at_once() -> None:
    calls = Calls()
    commit = commit_of(calls, linger_s=3600.0)

    commit.put("a")

    assert calls.batches == [["a"]]


def test_entries_of_many_threads_share_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "BUSY_S", 3600.0)
    calls = Calls()
    entries = [f"{number:02}" for number in range(40)]

    commit = commit_of(calls, linger_s=60.0)
    commit.put("99")

    outcomes = put_all(commit, entries)

    assert outcomes == dict.fromkeys(entries)
    assert sorted(entry for batch in calls.batches for entry in batch) == [*entries, "99"]
    assert [len(batch) for batch in calls.batches] == [1, 10, 10, 10, 10]


def test_each_thread_learns_the_fate_of_its_own_entry() -> None:
    calls = Calls()

    outcomes = put_all(commit_of(calls), ["a", "bad1", "b", "bad2"])

    assert outcomes["a"] is outcomes["b"] is None
    assert str(outcomes["bad1"]) == "bad1"
    assert str(outcomes["bad2"]) == "bad2"


def test_a_batch_keeps_within_its_bytes_but_a_large_entry_still_goes() -> None:
    calls = Calls()
    entries = ["x" * 60, "y" * 60, "z" * 60, "large" * 50, "s"]

    outcomes = put_all(commit_of(calls, linger_s=0.1), entries)

    assert outcomes == dict.fromkeys(entries)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= 100 for batch in calls.batches)


def test_a_slow_call_does_not_keep_others_waiting() -> None:
    begun, release = threading.Event(), threading.Event()
    sent: list[str] = []

    def send(entries: Sequence[str]) -> list[Exception | None]:
        if "slow" in entries:
            begun.set()
            release.wait(30)
        sent.extend(entries)
        return [None for _ in entries]

    commit = GroupCommit(send, size_bytes=len, max_entries=10, max_bytes=100, linger_s=0.0)
    slow = threading.Thread(target=commit.put, args=("slow",))
    slow.start()
    assert begun.wait(30)

    commit.put("quick")

    assert sent == ["quick"]
    release.set()
    slow.join(30)
    assert sent == ["quick", "slow"]


def test_a_bug_in_sending_reaches_every_thread_and_stops_none() -> None:
    def send(entries: Sequence[str]) -> list[Exception | None]:
        raise ValueError("bug")

    commit = GroupCommit(send, size_bytes=len, max_entries=10, max_bytes=100, linger_s=0.1)

    outcomes = put_all(commit, ["a", "b", "c"])

    assert [str(outcome) for outcome in outcomes.values()] == ["bug"] * 3
    with pytest.raises(ValueError, match="bug"):
        commit.put("d")


def test_a_thread_that_is_stopped_while_it_sends_fails_the_others() -> None:
    def send(entries: Sequence[str]) -> list[Exception | None]:
        raise KeyboardInterrupt

    commit = GroupCommit(send, size_bytes=len, max_entries=10, max_bytes=100)

    with pytest.raises(KeyboardInterrupt):
        commit.put("a")
    with pytest.raises(KeyboardInterrupt):
        commit.put("b")


@given(st.lists(st.integers(0, 60), min_size=1, max_size=25))
def test_every_entry_is_sent_once_in_batches_within_the_limits(sizes: list[int]) -> None:
    calls = Calls()
    entries = [f"{number}:".ljust(size) for number, size in enumerate(sizes)]

    outcomes = put_all(commit_of(calls, linger_s=0.001), entries)

    assert outcomes == dict.fromkeys(entries)
    assert sorted(entry for batch in calls.batches for entry in batch) == sorted(entries)
    for batch in calls.batches:
        assert len(batch) <= 10
        assert len(batch) == 1 or sum(map(len, batch)) <= 100


@given(st.lists(st.sampled_from(["good", "bad", "b" * 60]), max_size=35))
def test_many_entries_of_one_caller_go_in_full_batches_and_fail_one_by_one(
    kinds: list[str],
) -> None:
    calls = Calls()
    entries = [f"{kind}-{number}" for number, kind in enumerate(kinds)]

    outcomes = commit_of(calls, linger_s=0.0).put_all(entries)

    assert [outcome is not None for outcome in outcomes] == [e.startswith("bad") for e in entries]
    assert [entry for batch in calls.batches for entry in batch] == entries
    for batch, following in itertools.pairwise(calls.batches):
        more = [*batch, following[0]]
        assert len(more) > 10 or sum(map(len, more)) > 100
