"""Results that are remembered: the newest, within bounds."""

from detection_worker.pipeline.messages.result_cache import Finished, ResultCache


def finished(body: bytes) -> Finished:
    return Finished(body=body, failure=None, delivered=False)


def test_the_oldest_results_go_first_when_there_are_too_many() -> None:
    results = ResultCache(max_jobs=2)
    for i in range(3):
        results.put("m", i, finished(b"x"))

    assert results.get("m", 0) is None
    assert results.get("m", 2) is not None


def test_the_memory_of_results_is_bounded() -> None:
    results = ResultCache(max_bytes=100)
    results.put("a", 0, finished(b"x" * 60))
    results.put("b", 0, finished(b"x" * 60))

    assert results.get("a", 0) is None
    assert results.get("b", 0) is not None


def test_a_later_end_replaces_the_earlier_one() -> None:
    results = ResultCache(max_bytes=100)
    for _ in range(10):
        results.put("a", 0, finished(b"x" * 60))
    results.put("a", 0, Finished(body=b"", failure=None, delivered=True))

    known = results.get("a", 0)
    assert known is not None
    assert known.delivered
