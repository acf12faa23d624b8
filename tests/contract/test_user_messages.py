"""Counts in sentences."""

import ast
from pathlib import Path

import pytest

from detection_contract.user_messages import counted

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (counted(0, "message"), "0 messages"),
        (counted(1, "SQS request"), "1 SQS request"),
        (counted(2, "SQS request"), "2 SQS requests"),
        (counted(1, "delivery", "deliveries"), "1 delivery"),
        (counted(3, "message was", "messages were"), "3 messages were"),
    ],
)
def test_a_count_agrees_with_its_noun(found: str, expected: str) -> None:
    assert found == expected


NOUNS = ("messages", "requests", "results", "deliveries", "replicas", "pods", "dead letters")
"""What command lines and conditions count, and there can be one of."""


def counts_in(text: ast.JoinedStr) -> list[str]:
    """Nouns that follow right behind a value."""
    pairs = zip(text.values, text.values[1:], strict=False)
    return [
        str(after.value)
        for value, after in pairs
        if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)
        if str(after.value).lstrip().startswith(NOUNS) and str(after.value).startswith(" ")
    ]


def test_no_command_or_condition_counts_without_agreement() -> None:
    found = [
        (file.name, words)
        for folder in ("worker/detection_worker/cli", "operator/detection_operator")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.JoinedStr)
        for words in counts_in(node)
    ]

    # What is before these is a word, or a line of bars.
    assert set(found) == {
        ("conditions.py", " replicas: "),
        ("explain.py", " messages an hour from "),
        ("explain.py", " replicas"),
    }
