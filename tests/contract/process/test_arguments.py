"""Help and errors of every command line."""

import argparse

import pytest

from detection_contract.environment import EXIT_USAGE
from detection_contract.process.arguments import ArgumentParser


def usage_of(parser: ArgumentParser) -> str:
    """Return the usage, on however many lines argparse broke it."""
    return " ".join(parser.format_help().partition("\n\n")[0].split())


def test_usage_names_what_must_be_given_and_leaves_options_out() -> None:
    parser = ArgumentParser(prog="100% tool")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--queue-url", metavar="URL", required=True)
    parser.add_argument("--level", required=True)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--all", action="store_true")
    group.add_argument("--name", metavar="NAME")
    parser.add_mutually_exclusive_group().add_argument("--never-shown")
    parser.add_argument("file")

    assert usage_of(parser) == (
        "usage: 100% tool [OPTIONS] --queue-url URL --level VALUE (--all | --name NAME) FILE"
    )


@pytest.mark.parametrize(
    ("nargs", "shown"),
    [("*", "[FILE ...]"), ("?", "[FILE]"), ("+", "FILE ..."), (argparse.PARSER, "FILE ...")],
)
def test_usage_shows_how_many_arguments_may_be_given(nargs: str, shown: str) -> None:
    parser = ArgumentParser(prog="tool")
    parser.add_argument("files", metavar="FILE", nargs=nargs)

    assert usage_of(parser) == f"usage: tool [OPTIONS] {shown}"


def test_a_usage_that_is_given_stays() -> None:
    assert usage_of(ArgumentParser(prog="tool", usage="tool THIS")) == "usage: tool THIS"


def test_a_mistake_is_told_in_one_line_with_the_way_to_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = ArgumentParser(prog="tool")

    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--wrong"])

    assert caught.value.code == EXIT_USAGE
    said = capsys.readouterr()
    assert said.err == "Error: unrecognized arguments: --wrong\nSee: tool --help\n"
    assert said.out == ""
