from pathlib import Path

import pytest

from detection_operator.cli.main import main
from detection_operator.cli.top import pool_table, table

QUEUE = {
    "metadata": {"namespace": "media", "name": "video"},
    "spec": {"scaling": {"mode": "Auto"}},
    "status": {
        "desiredReplicas": 9,
        "readyReplicas": 6,
        "busyReplicas": 5,
        "drainingReplicas": 0,
        "queue": {"visible": 412, "inFlight": 6, "oldestAgeSeconds": 74, "arrivalsPerMinute": 31},
        "slo": {"attainmentPercent": "99.3"},
        "cost": {"perHour": "6.04"},
        "plan": {"message": "12 needed to clear 412 messages"},
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "CapacityAvailable", "status": "False"},
        ],
    },
}


def test_each_detectionqueue_is_a_row_with_its_trouble_and_its_reason() -> None:
    new = {"metadata": {"namespace": "media", "name": "audio"}, "spec": {"paused": True}}

    head, first, second = table([QUEUE, new]).splitlines()

    assert head.split()[:3] == ["NAMESPACE", "NAME", "MODE"]
    assert first.split()[:4] == ["media", "audio", "Paused", "-"]
    assert first.endswith("not reconciled yet")
    assert "CapacityAvailable" in second
    assert "99.3%" in second
    assert second.index("12 needed") == head.index("WHY")


def test_each_pool_is_a_row_with_its_units_and_who_has_them() -> None:
    pool = {
        "metadata": {"namespace": "media", "name": "gpu-a10"},
        "spec": {"sharing": "Fair"},
        "status": {
            "capacity": 16,
            "wanted": 30,
            "granted": 16,
            "held": 17,
            "members": 2,
            "message": "16 of 16 granted",
            "conditions": [{"type": "WithinCapacity", "status": "False"}],
        },
    }
    new = {"metadata": {"namespace": "media", "name": "cpu"}, "spec": {}}

    head, first, second = pool_table([pool, new]).splitlines()

    assert head.split()[:4] == ["NAMESPACE", "POOL", "SHARING", "CAPACITY"]
    assert first.split()[:5] == ["media", "cpu", "Priority", "-", "-"]
    assert first.endswith("not reconciled yet")
    assert second.split()[2:9] == ["Fair", "16", "30", "16", "17", "2", "WithinCapacity"]
    assert second.endswith("16 of 16 granted")


def test_no_detectionqueues_is_said() -> None:
    assert table([]) == "no DetectionQueues"


def test_a_cluster_that_cannot_be_found_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["top", "--kubeconfig", str(tmp_path / "nothing")])

    assert code == 2
    assert "cannot reach the Kubernetes API" in capsys.readouterr().err
