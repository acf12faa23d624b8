"""A small run of the GPU's benchmark on the CPU: every section gives rows, none is lost."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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
    assert [(row["messages"], row["of"]) for row in rows["worker"]] == [(40, 40)]
    assert len(rows["forward"]) == 2 * 3 * 2
    assert not any("error" in row for row in rows["forward"])
    assert rows["decoding"][0]["per_s"] > 0
    assert [goal["wanted"] for goal in report["goals"] if "wanted" in goal][-2:] == [0.85, 15.0]


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
        "time.sleep(60) if sys.argv[1] == 'stage' else sys.exit('no device')\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(tmp_path / "gpu.py"))

    failed = gpu.run_section("start", device="cpu", quick=True, seconds=30)
    late = gpu.run_section("stage", device="cpu", quick=True, seconds=3)

    assert (failed["rows"], failed["error"]) == ([{"row": 1}], "no device")
    assert (late["rows"], late["error"]) == ([{"row": 1}], "stopped after 3 s")
    assert sys.executable


def test_goals_are_judged_from_what_was_measured(gpu: ModuleType) -> None:
    report = {
        "stage": {"rows": [{"model": "a", "share": 0.95}]},
        "worker": {
            "rows": [
                {
                    "per_s": 80.0,
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
        (16.0, False),
    ]
