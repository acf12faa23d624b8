import os
from unittest.mock import patch

import pytest

from detection_operator.errors import InvalidSettings
from detection_operator.settings import OperatorSettings, from_environment


def read(variables: dict[str, str]) -> OperatorSettings:
    """Read the settings with these variables and no others."""
    with patch.dict(os.environ, variables, clear=True):
        return from_environment()


def test_without_a_word_the_operator_serves_its_own_namespace() -> None:
    settings = read({"POD_NAMESPACE": "media", "POD_NAME": "op-1"})

    assert settings.namespaces == ("media",)
    assert (settings.namespace, settings.identity) == ("media", "op-1")
    assert settings.leader_election


def test_namespaces_are_a_list() -> None:
    settings = read({"DETECTION_OPERATOR_NAMESPACES": "a, b"})

    assert settings.namespaces == ("a", "b")


def test_the_whole_cluster_is_asked_for_explicitly() -> None:
    assert read({"DETECTION_OPERATOR_CLUSTER_WIDE": "true"}).namespaces == ()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({"DETECTION_OPERATOR_LEADER_ELECTION": "no\n"}, False, id="end of line"),
        pytest.param({"DETECTION_OPERATOR_LEADER_ELECTION": " FALSE "}, False, id="spaces"),
        pytest.param({"DETECTION_OPERATOR_LEADER_ELECTION": " "}, True, id="blank"),
    ],
)
def test_white_space_around_a_flag_is_ignored(
    variables: dict[str, str],
    expected: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert read(variables).leader_election is expected


def test_a_blank_number_counts_as_not_set() -> None:
    settings = read({"DETECTION_OPERATOR_PORT": " ", "DETECTION_OPERATOR_THREADS": "\n"})

    assert (settings.port, settings.threads) == (8080, 8)


def test_variables_have_upper_case_names() -> None:
    settings = read({"kubeconfig": "/tmp/other", "detection_operator_port": "9"})

    assert (settings.kubeconfig, settings.port) == (None, 8080)


def test_every_process_has_an_identity_of_its_own() -> None:
    assert str(os.getpid()) in read({}).identity


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        pytest.param({"DETECTION_OPERATOR_PORT": "http"}, "DETECTION_OPERATOR_PORT", id="port"),
        pytest.param({"DETECTION_OPERATOR_PORT": "70000"}, "65535", id="high port"),
        pytest.param({"DETECTION_OPERATOR_THREADS": "0"}, "between 1 and", id="threads"),
        pytest.param(
            {"DETECTION_OPERATOR_EMF_NAMESPACE": "AWS/mine"}, "not beginning with AWS/", id="EMF"
        ),
        pytest.param(
            {"DETECTION_OPERATOR_LEADER_ELECTION": "maybe"}, "true or false", id="boolean"
        ),
        pytest.param(
            {"DETECTION_OPERATOR_CLUSTER_WIDE": "1", "DETECTION_OPERATOR_NAMESPACES": "a"},
            "contradict",
            id="both scopes",
        ),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSettings, match=named):
        read(variables)


def test_metrics_go_to_cloudwatch_only_if_a_namespace_is_named() -> None:
    named = read({"DETECTION_OPERATOR_EMF_NAMESPACE": " detection "})

    assert named.emf_namespace == "detection"
    assert read({"DETECTION_OPERATOR_EMF_NAMESPACE": " "}).emf_namespace is None


def test_the_lease_s_owner_is_named_by_the_environment() -> None:
    assert read({"DETECTION_OPERATOR_DEPLOYMENT": "operator"}).deployment == "operator"
    assert read({}).deployment is None
