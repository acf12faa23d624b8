import pytest

from detection_operator.kube.selectors import matches, selector_text

LABELS = {"app": "mine", "tier": "gpu"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", True, id="empty finds all"),
        pytest.param("app=mine", True, id="equal"),
        pytest.param("app==mine,tier=gpu", True, id="two"),
        pytest.param("app=other", False, id="other value"),
        pytest.param("app!=mine", False, id="not equal"),
        pytest.param("tier in (cpu, gpu)", True, id="in"),
        pytest.param("tier notin (cpu,gpu)", False, id="not in"),
        pytest.param("tier notin (cpu),app=mine", True, id="not in, and another"),
        pytest.param("app", True, id="exists"),
        pytest.param("!app", False, id="does not exist"),
        pytest.param("!zone", True, id="absent"),
    ],
)
def test_a_selector_finds_what_kubernetes_would(text: str, *, expected: bool) -> None:
    assert matches(text, LABELS) is expected


def test_a_selector_object_becomes_text() -> None:
    selector = {
        "matchLabels": {"app": "mine"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["gpu", "cpu"]},
            {"key": "zone", "operator": "DoesNotExist"},
            {"key": "app", "operator": "Exists"},
            {"key": "tier", "operator": "NotIn", "values": ["tpu"]},
        ],
    }

    text = selector_text(selector)

    assert text == "app=mine,tier in (cpu,gpu),!zone,app,tier notin (tpu)"
    assert matches(text, LABELS)
