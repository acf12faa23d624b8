"""Examples of Hypothesis have no time limit: on a busy machine any of them may take long."""

from hypothesis import HealthCheck, settings


def test_no_example_has_a_deadline() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check
