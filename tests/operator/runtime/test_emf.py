"""The operator's metrics for CloudWatch."""

import json
from pathlib import Path

import pytest
import yaml

from detection_operator.runtime.operator import Operator
from detection_operator.settings import OperatorSettings


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig of an API server that is not there."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    return path


@pytest.mark.parametrize(("namespace", "lines"), [("detection", 1), (None, 0)])
def test_metrics_are_written_for_cloudwatch_if_a_namespace_is_named(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str], namespace: str | None, lines: int
) -> None:
    operator = Operator(
        OperatorSettings(kubeconfig=kubeconfig, host="127.0.0.1", port=0, emf_namespace=namespace)
    )
    operator.metrics.queues.set(7)
    operator.stop()
    operator.run()

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["detection_operator_queues"] for line in told] == [7] * lines
