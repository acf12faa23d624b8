"""Which worker the settings ask for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.pipeline.service.feeders import choice
from detection_worker.pipeline.service.feeders.worker import FedWorker
from detection_worker.settings import ConsumerSettings, Settings

PLAIN = ConsumerSettings(queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/q")


@pytest.mark.parametrize(
    ("changes", "cores", "fed"),
    [
        pytest.param({"device": "cpu"}, 2, False, id="two cores"),
        pytest.param({"device": "cpu"}, 8, True, id="eight cores"),
        pytest.param({"device": "cuda"}, 2, True, id="a GPU"),
        pytest.param({"device": "cpu", "feeders": 1}, 1, True, id="asked for"),
        pytest.param({"device": "cpu", "feeders": 0}, 64, False, id="refused"),
        pytest.param({"device": "cuda", "feeders": 4, "run_once": True}, 64, False, id="once"),
        pytest.param({"device": "cuda", "dry_run": True}, 64, False, id="dry run"),
    ],
)
def test_settings_and_cores_choose_the_worker(
    monkeypatch: pytest.MonkeyPatch, changes: Any, cores: int, *, fed: bool
) -> None:
    monkeypatch.setattr(choice, "usable_cores", lambda: cores)

    worker = choice.make_worker(Settings(), replace(PLAIN, **changes))

    assert type(worker) is (FedWorker if fed else Consumer)


def test_a_handler_of_results_gets_them_in_its_own_process() -> None:
    worker = choice.make_worker(Settings(), replace(PLAIN, feeders=2), on_result=print)

    assert type(worker) is Consumer


def test_a_driver_tells_whether_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(choice, "GPU_FILES", (tmp_path / "none", driver))
    assert not choice.uses_gpu("auto")

    driver.touch()

    assert choice.uses_gpu("auto")
    assert choice.uses_gpu("cuda:1")
    assert not choice.uses_gpu("cpu")
