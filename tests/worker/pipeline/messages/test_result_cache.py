"""Results that are remembered: the newest, within bounds."""

from detection_worker.pipeline.messages.result_cache import Finished, ResultMemo


def finished(body: bytes) -> Finished:
    return Finished(body=body, failure=None, delivered=False)


def test_the_oldest_results_go_first_when_there_are_too_many() -> None:
    memo = ResultMemo(max_jobs=2)
    for i in range(3):
        memo.put("m", i, finished(b"x"))

    assert memo.get("m", 0) is None
    assert memo.get("m", 2) is not None


def test_the_memory_of_results_is_bounded() -> None:
    memo = ResultMemo(max_bytes=100)
    memo.put("a", 0, finished(b"x" * 60))
    memo.put("b", 0, finished(b"x" * 60))

    assert memo.get("a", 0) is None
    assert memo.get("b", 0) is not None


def test_a_later_end_replaces_the_earlier_one() -> None:
    memo = ResultMemo(max_bytes=100)
    for _ in range(10):
        memo.put("a", 0, finished(b"x" * 60))
    memo.put("a", 0, Finished(body=b"", failure=None, delivered=True))

    known = memo.get("a", 0)
    assert known is not None
    assert known.delivered
