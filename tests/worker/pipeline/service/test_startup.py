import gc

from detection_worker.pipeline.service.startup import spared_by_collector


def test_the_collector_looks_only_at_what_comes_later() -> None:
    early = [object() for _ in range(3)]

    with spared_by_collector():
        late: list[object] = []
        assert gc.get_freeze_count() > 1000
        assert not any(each is early for each in gc.get_objects())
        assert any(each is late for each in gc.get_objects())

    assert gc.get_freeze_count() == 0
    assert any(each is early for each in gc.get_objects())
