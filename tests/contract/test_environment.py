import re

import pytest

from detection_contract import environment
from detection_worker.config.table import SETTINGS
from detection_worker.settings import ConsumerSettings


@pytest.mark.parametrize("variable", environment.WORKER_VARIABLES)
def test_the_worker_reads_every_variable_that_the_operator_may_set(variable: str) -> None:
    assert variable in {name for row in SETTINGS for name in row.environment}


def test_the_shared_default_of_the_grace_period_is_the_worker_s() -> None:
    assert ConsumerSettings(queue_url="q").shutdown_grace_s == environment.SHUTDOWN_GRACE_DEFAULT_S


@pytest.mark.parametrize(
    "name",
    [
        value
        for key, value in vars(environment).items()
        if key.startswith(("LABEL_", "ANNOTATION_"))
    ],
)
def test_label_and_annotation_names_are_acceptable_to_kubernetes(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9.-]{1,253}/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", name)


def test_the_port_has_a_name_that_kubernetes_takes() -> None:
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,13}[a-z0-9])?", environment.CONTROL_PORT_NAME)
