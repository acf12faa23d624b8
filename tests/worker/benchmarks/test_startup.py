"""The benchmark of starts runs, and its figures are those of what it says."""

from collections.abc import Callable
from typing import Any


def test_a_start_and_a_pass_have_their_costs(benchmark_report: Callable[..., Any]) -> None:
    code, report = benchmark_report(
        "startup.py", "--turns", "1", "--passes", "1", "--batches", "1"
    )

    assert code == 0
    # Twice the goal: on a busy machine CPU time is longer too.
    assert all(0.5 < report[start]["cpu_s"] < 6 for start in ("predict", "consume"))
    assert all(report[start]["goal_cpu_s"] == 3 for start in ("predict", "consume"))
    assert report["predict"]["peak_rss_mib"] > 100
    memory = report["consume"]
    assert memory["rss_mib"] >= memory["pss_mib"] > 100
    assert memory["pod_mib"] > memory["anonymous_mib"] > 0
    # Code that only the start needed is given back: of torch alone it would be 50 MiB and more.
    assert memory["anonymous_mib"] < memory["rss_mib"] < memory["anonymous_mib"] + 50
    assert {name: sorted(row) for name, row in report["forward"].items()} == {
        f"{model} x 1": ["as run", "as trained"]
        for model in ("audio-lfb-demo", "audio-lfb-resnet-s", "image-residual-s")
    }
    assert all(ms > 0 for row in report["forward"].values() for ms in row.values())
