"""The check of wording finds what it is meant to find, and leaves usual English alone."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "prose.py"


def load() -> ModuleType:
    spec = spec_from_file_location("prose", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["prose"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


prose = load()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("        name: Of the pod.", ["Of …"], id="attribute"),
        pytest.param("        seed (int): Of the generator.", ["Of …"], id="typed argument"),
        pytest.param('MINUTES = 25\n"""Of `make test`."""', ["Of …"], id="documented constant"),
        pytest.param('"description": "Of the pod."', ["Of …"], id="JSON"),
        pytest.param("  description: Of the pod.", ["Of …"], id="YAML"),
        pytest.param("| `queue_url` | Of the queue. |", ["Of …"], id="table cell"),
        pytest.param("# Likewise.", ["Likewise"], id="word"),
        pytest.param("mend it, mended, mends", ["mend", "mended", "mends"], id="every form"),
        pytest.param("# left to somebody\n# else", ["somebody # else"], id="over two comments"),
        pytest.param("'stays all '\n'the same'", ["all ' 'the same"], id="over two strings"),
        pytest.param("Nodes live so long.", ["so long"], id="so long"),
        pytest.param("Whoever reads it.", ["Whoever"], id="whoever"),
        pytest.param("A reason, for a person.", ["for a person"], id="for a person"),
        pytest.param("starts anew, as seen of late", ["anew", "of late"], id="two in one line"),
    ],
)
def test_it_finds(text: str, found: list[str]) -> None:
    assert [finding.found for finding in prose.check(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        "        name: Name of the pod.",
        "        offset: Offset into the file.",
        "# Of all metadata only the orientation matters.",
        "Of these, three failed.",
        "Scores that are all the same say nothing.",
        "It runs so long as there is work.",
        "recommend, amend, someone, the end of later polls",
    ],
)
def test_it_leaves_alone(text: str) -> None:
    assert prose.check(text) == []


def test_of_python_it_reads_comments_and_strings_in_their_lines() -> None:
    source = 'somebody = 1  # for somebody\nx = f"{1} and somebody, whoever"\n'

    found = prose.check(prose.comments_and_strings(source))

    assert [(f.line, f.found) for f in found] == [
        (1, "somebody"),
        (2, "somebody"),
        (2, "whoever"),
    ]


def test_it_names_file_line_and_better_word_and_fails(tmp_path: Path) -> None:
    tool = tmp_path / "tools" / "prose.py"
    tool.parent.mkdir()
    tool.write_bytes(TOOL.read_bytes())
    (tmp_path / "good.md").write_text("Plain words.\n")
    (tmp_path / "bad.md").write_text("One line.\nSomebody did it.\n")
    (tmp_path / "CHANGELOG.md").write_text("History: mended.\n")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)

    def checked(*paths: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, tool, *paths],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()

    better = prose.WORDS["somebody(?: else)?"]
    assert checked() == (1, [f"bad.md:2: Somebody → {better}"])
    assert checked("good.md", "CHANGELOG.md") == (0, [])
