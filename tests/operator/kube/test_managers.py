from typing import Any

import pytest

from detection_operator.kube.managers import other_writer
from detection_operator.kube.port import FIELD_MANAGER


def deployment(replicas: int, *owners: tuple[str, str]) -> dict[str, Any]:
    entries = [
        {
            "manager": manager,
            "operation": "Update",
            "subresource": subresource,
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
        for manager, subresource in owners
    ]
    others = [{"manager": "someone", "fieldsV1": {"f:metadata": {}}}, {"manager": "none"}]
    return {"metadata": {"managedFields": [*entries, *others]}, "spec": {"replicas": replicas}}


@pytest.mark.parametrize(
    ("owners", "replicas", "written", "expected"),
    [
        pytest.param([(FIELD_MANAGER, "scale")], 3, 3, None, id="ours alone"),
        pytest.param([("helm", "")], 3, None, None, id="the one who brought it"),
        pytest.param([("helm", "")], 3, 5, "helm", id="who reset it"),
        pytest.param([("keda-operator", "scale")], 3, None, "keda-operator", id="before us"),
        pytest.param([("keda-operator", "scale")], 3, 5, "keda-operator", id="after us"),
        pytest.param(
            [(FIELD_MANAGER, "scale"), ("keda-operator", "scale")], 3, 3, None, id="agreeing"
        ),
        pytest.param([("kubectl", "scale")], 9, 3, None, id="a person"),
        pytest.param([("kubectl-edit", "")], 9, 3, None, id="an edit"),
    ],
)
def test_the_other_writer_is_found(
    owners: list[tuple[str, str]], replicas: int, written: int | None, expected: str | None
) -> None:
    assert other_writer(deployment(replicas, *owners), written=written) == expected


def test_a_deployment_without_field_owners_has_no_other_writer() -> None:
    assert other_writer({"metadata": {}, "spec": {}}, written=3) is None
