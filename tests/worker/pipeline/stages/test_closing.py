"""The stages at the end of a process: calls that hang hold it up once, not each in turn."""

import threading
import time
from typing import Any

import pytest

from detection_worker.pipeline.service import pipeline
from detection_worker.pipeline.service.pipeline import _Stages
from detection_worker.pipeline.stages.stage import Stage


class _Inference:
    """A stage that has nothing to score."""

    closed = False

    def close(self, *, timeout_s: float) -> bool:
        self.closed = timeout_s > 0
        return True


def test_stages_that_hang_share_the_time_for_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "CLOSE_S", 2.0)
    go_on = threading.Event()

    def hang(_: int) -> None:
        go_on.wait(60)

    stages: list[Stage[Any, Any]] = [
        Stage(name, hang, threads=2, capacity=8) for name in ("a", "b", "c")
    ]
    for stage in stages:
        stage.put(1)
    inference: Any = _Inference()
    download, decode, callback = stages
    began_s = time.monotonic()

    stages_of_one = _Stages(
        download=download, decode=decode, inference=inference, callback=callback
    )
    assert stages_of_one.close(pass_until_s=began_s + 30)

    assert 2.0 <= time.monotonic() - began_s < 5.0
    assert inference.closed
    go_on.set()
