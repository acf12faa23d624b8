"""A small run of the GPU's benchmark on the CPU: every section gives rows, none is lost."""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from detection_testing.cpu import WorkerCpu

PATH = Path(__file__).parents[3] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_section_runs_on_a_cpu(benchmark_report: Any) -> None:
    code, report = benchmark_report("gpu.py", "--device", "cpu", "--quick")

    rows = {name: report[name]["rows"] for name in report if name not in {"goals", "device_name"}}
    assert code == 0
    assert {name: report[name].get("error") for name in rows} == dict.fromkeys(rows)
    assert [row["part"] for row in rows["start"]][-1] == "first results"
    assert {row["model"] for row in rows["golden"]} == {row["model"] for row in rows["stage"]}
    # A device that is idle does not wait for long: the first passes may be smaller.
    assert all(16 < row["mean_batch"] <= row["batch"] == 32 for row in rows["stage"])
    assert all(row["scored"] == 1 for row in rows["stage"])
    assert [row["media"] for row in rows["worker"]] == ["images", "photos", "videos"]
    for row in rows["worker"]:
        assert row["limit_per_s"] == row["limits_per_s"][row["limited_by"]] > 0
        assert row["feeders"] == 1
        assert {"queue", "media", "receiver 1", "receiver 2"} < row["cpu_ms"].keys()
    assert len(rows["forward"]) == 2 * 3 * 2
    assert not any("error" in row for row in rows["forward"])
    assert rows["decoding"][0]["per_s"] > 0
    assert [goal["wanted"] for goal in report["goals"] if "wanted" in goal][-2:] == [0.85, 0.85]


def test_all_sections_together_take_at_most_eight_minutes(gpu: ModuleType) -> None:
    assert sum(gpu.SECONDS.values()) <= 8 * 60


def test_a_section_that_fails_or_hangs_is_told(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "on_gpu" / "sections.py"
    script.parent.mkdir()
    script.write_text(
        "import sys, time\n"
        "print('{\"row\": 1}', flush=True)\n"
        "time.sleep(60) if sys.argv[1] == 'stage' else sys.exit('no device\\nuse another')\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(tmp_path / "gpu.py"))

    failed = gpu.run_section("start", device="cpu", quick=True, seconds=30)
    late = gpu.run_section("stage", device="cpu", quick=True, seconds=3)

    assert (failed["rows"], failed["error"]) == ([{"row": 1}], "no device\nuse another")
    assert (late["rows"], late["error"]) == ([{"row": 1}], "stopped after 3 s")
    assert sys.executable


def test_without_the_device_nothing_else_is_tried(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def run_section(name: str, **_: object) -> dict[str, Any]:
        tried.append(name)
        return {"rows": [], "seconds": 1.0, "error": "No such device: cuda:0\nUse cpu."}

    monkeypatch.setattr(gpu, "run_section", run_section)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--sections", "stage"])

    assert gpu.main() == 1
    assert tried == ["device"]
    assert "Nothing was measured.\nNo such device: cuda:0" in capsys.readouterr().err


def test_packages_that_are_missing_are_named_at_once(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "NEEDED", ("json", "no_such_package", "nor_this"))
    monkeypatch.setattr(gpu, "PROJECT", "no-such-project")
    monkeypatch.setattr(sys, "argv", ["gpu.py"])

    assert gpu.main() == 1
    assert "Not installed: no_such_package, nor_this, no-such-project\n" in capsys.readouterr().err


def test_a_worker_that_ended_is_told_with_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(PATH.parent))
    whole_worker = importlib.import_module("on_gpu.whole_worker")
    log = tmp_path / "log"
    log.write_text("".join(f"line {i}\n" for i in range(9)))
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait(60)

    with pytest.raises(whole_worker.WorkerError) as told:
        whole_worker.Worker(process, 1, log).ready_s()

    assert str(told.value).splitlines() == [
        "the worker ended with exit code 3",
        *(f"line {i}" for i in range(5, 9)),
    ]


def test_the_slowest_part_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PATH.parent))
    whole_worker = importlib.import_module("on_gpu.whole_worker")
    cores = len(os.sched_getaffinity(0))
    used = whole_worker.Used(
        messages=1000,
        seconds=2.0,
        worker=WorkerCpu(device=0.5, feeders=8.0, decoders=2.0, feeder_count=4),
        services={"queue": 0.4},
        own_s=0.1,
        gpu_busy=None,
        gpu_memory_mib=None,
    )

    row = used.row({"forward": 900.0, "decode": 800.0, "cuda": True})

    assert row["per_s"] == 500
    assert row["limits_per_s"] == pytest.approx(
        {
            "forward": 900,
            "decode": 800,
            "all cores": cores * 1000 / 11,
            "feeders": 500,
            "queue": 2500,
            "device": 2000,
        }
    )
    assert row["limit_per_s"] == min(row["limits_per_s"].values())
    assert row["limits_per_s"][row["limited_by"]] == row["limit_per_s"]


def test_goals_are_judged_from_what_was_measured(gpu: ModuleType) -> None:
    report = {
        "stage": {"rows": [{"model": "a", "share": 0.95}]},
        "worker": {
            "rows": [
                {
                    "media": "images",
                    "per_s": 80.0,
                    "limited_by": "feeders",
                    "limit_per_s": 90.0,
                    "ready_s": 16.0,
                    "forward_limit_per_s": 900.0,
                    "decode_limit_per_s": 100.0,
                }
            ]
        },
        "golden": {"rows": []},
    }

    found = gpu.goals(report)

    assert [(goal["measured"], goal["met"]) for goal in found] == [
        (0.95, True),
        (0.8, False),
        (0.889, True),
        (16.0, False),
    ]
