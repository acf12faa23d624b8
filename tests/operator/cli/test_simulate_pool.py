import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_operator.cli.main import main

EXAMPLE = Path(__file__).parents[3] / "charts/detection-queue/examples/pool.yaml"


def manifests(**capacity: Any) -> list[dict[str, Any]]:
    pool, *queues = yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8"))
    if capacity:
        pool["spec"]["capacity"] = capacity
    return [pool, *queues]


@pytest.fixture
def arrivals(tmp_path: Path) -> str:
    path = tmp_path / "arrivals.csv"
    path.write_text("\n".join(str(2 * n) for n in range(100)), encoding="utf-8")
    return str(path)


def written(tmp_path: Path, documents: list[Any]) -> str:
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return str(path)


def run(file: str, *sources: str, capacity: int | None = None) -> int:
    options = [option for source in sources for option in ("--arrivals", source)]
    units = [] if capacity is None else ["--capacity", str(capacity)]
    return main(["simulate-pool", file, *options, *units])


def test_it_compares_three_ways_to_share(
    arrivals: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(EXAMPLE), f"uploads={arrivals}", f"archive={arrivals}") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "WorkerPool gpu-a10: 16 units"
    assert lines[1] == "uploads: arrivals, 100 messages, objective 120 s"
    rows = [line for line in lines[3:] if line.startswith(("uploads", "archive"))]
    assert [row.split()[0] for row in rows] == ["uploads"] * 3 + ["archive"] * 3
    for name in ("pool, Priority", "maxima by load", "first come"):
        assert sum(name in row for row in rows) == 2


def test_a_capacity_that_the_cluster_knows_is_given(
    tmp_path: Path, arrivals: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, manifests(fromNodes={}))
    sources = (f"uploads={arrivals}", f"archive={arrivals}")

    assert run(file, *sources) == 2
    assert "give --capacity" in capsys.readouterr().err
    assert run(file, *sources, capacity=3) == 0
    assert "3 units" in capsys.readouterr().out
    assert run(file, *sources, capacity=0) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda docs: docs.pop(0), "has 0 WorkerPools", id="no pool"),
        pytest.param(lambda docs: docs.append({"kind": "Secret"}), "", id="others are ignored"),
        pytest.param(lambda docs: docs.append(None), "", id="an empty document"),
        pytest.param(lambda docs: docs[1].pop("spec"), "without name or spec", id="no spec"),
        pytest.param(
            lambda docs: docs[0]["spec"].update(capacity={}),
            "WorkerPool gpu-a10: spec.capacity: needs exactly one",
            id="an invalid pool",
        ),
        pytest.param(
            lambda docs: docs[1]["spec"]["scaling"].pop("pool"),
            "DetectionQueue uploads: scaling.pool.name is not gpu-a10",
            id="a queue of no pool",
        ),
        pytest.param(lambda docs: docs.pop(), "--arrivals names uploads, archive", id="too many"),
        pytest.param(
            lambda docs: docs[2]["spec"].update(worker={"deploymentRef": {"name": "archive"}}),
            "",
            id="an adopted Deployment takes one",
        ),
    ],
)
def test_wrong_manifests_are_named(
    tmp_path: Path,
    arrivals: str,
    capsys: pytest.CaptureFixture[str],
    change: Any,
    message: str,
) -> None:
    documents = manifests()
    change(documents)
    code = run(written(tmp_path, documents), f"uploads={arrivals}", f"archive={arrivals}")

    assert code == (2 if message else 0)
    assert message in capsys.readouterr().err


def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, arrivals: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(tmp_path / "none.yaml"), "uploads=steady") == 2
    assert "none.yaml" in capsys.readouterr().err
    assert run(str(EXAMPLE), f"uploads={arrivals}", "archive=/nowhere.csv") == 2
    assert "/nowhere.csv" in capsys.readouterr().err


def test_in_the_example_priority_keeps_the_promise_of_both_and_first_come_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(str(EXAMPLE), "uploads=step", "archive=bursty") == 0

    lines = capsys.readouterr().out.splitlines()[4:]
    in_time = [float(re.search(r"([0-9.]+)%", line)[1]) for line in lines]  # type: ignore[index]
    (pooled, by_load, first_come), archive = in_time[:3], in_time[3:]
    assert pooled > 99
    assert max(by_load, first_come) < 60
    assert min(archive) > 99
