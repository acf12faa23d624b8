"""Find wording that readers do not search for, and say what to write in its place.

Two rules, over every text file that git knows (in Python: comments and strings only):

- A description does not begin with ``Of``: instead of ``name: Of the pod.`` say what the name does
  not, or ``Name of the pod.``
- Words of ``WORDS`` have a usual counterpart in software documentation; the message names it.

Usage: ``python tools/prose.py [PATH ...]``, files or folders; everything without one. Prints
``path:line: found → better`` and exits with 1 if anything was found.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = {".json", ".md", ".py", ".toml", ".tpl", ".txt", ".yaml", ".yml"}
NAMES = re.compile(r"Makefile|Dockerfile\..+")
SKIPPED = re.compile(
    r"CHANGELOG\.md|NOTICE|(.+/)?LICENSE[^/]*"  # history, and texts of others
    r"|requirements/.+|models/.+\.json"  # made by programs
    r"|tools/prose\.py|tests/test_prose\.py"  # quote what they look for
)
DESCRIPTION = re.compile(
    r"""(?:^[^\S\n]*(?:- )?[`*\w.]+(?: \([^)\n]*\))?"?:|["'|])\s*["']?(Of\b)""", re.M
)
"""An attribute, argument, key, table cell or string whose text begins with ``Of``."""
WORDS = {
    r"a word about": "name the thing: message, reason, note",
    r"(?<!are\s)(?<!is\s)all the same": "anyway, still, nevertheless",
    r"anew": "again, from the start",
    r"as ever": "as before, unchanged",
    r"everybody": "everyone, all users",
    r"for a person|for people": "human-readable",
    r"gives back": "returns, releases",
    r"in vain": "without success",
    r"likewise": "also, the same; in a table repeat the text",
    r"mend(?:s|ed|ing)?": "fix, repair, correct",
    r"of late(?! ones)": "recently",
    r"so long(?! as)": "this long, for that time, or the number's name",
    r"somebody(?: else)?": "name the actor: another client, a user, an administrator",
    r"what it is told": "name it: the command, setting, request",
    r"who just": "name the actor",
    r"whoever": "anyone who, any caller that",
}
GAP = r"""[\s#"']+"""
"""Between two words of a phrase: it may go on in the next line of a comment or string."""
PHRASES = {
    re.compile(rf"\b(?:{phrase.replace(' ', GAP)})\b", re.IGNORECASE): better
    for phrase, better in WORDS.items()
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Wording to replace.

    Attributes:
        line: Line number, from 1.
        found: The words as they stand there.
        better: What to write.
    """

    line: int
    found: str
    better: str


def check(text: str) -> list[Finding]:
    """Return what to replace in prose, by line."""
    found = [
        Finding(_line(text, match.start(1)), "Of …", "begin with what it is")
        for match in DESCRIPTION.finditer(text)
    ]
    for pattern, better in PHRASES.items():
        found += [
            Finding(_line(text, match.start()), " ".join(match[0].split()), better)
            for match in pattern.finditer(text)
        ]
    return sorted(found, key=lambda finding: finding.line)


def prose_of(path: Path) -> str:
    """Return a file's prose: of Python the comments and strings, with the lines where they are."""
    text = path.read_text(encoding="utf-8")
    return comments_and_strings(text) if path.suffix == ".py" else text


def comments_and_strings(source: str) -> str:
    """Return Python source with everything blanked but comments and strings."""
    lines = source.splitlines(keepends=True)
    blank = [re.sub(r"\S", " ", line) for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] in {"COMMENT", "STRING", "FSTRING_MIDDLE"}:
            _copy(lines, blank, token.start, token.end)
    return "".join(blank)


def tracked(paths: Sequence[str]) -> list[Path]:
    """Return the text files below ``paths`` that git tracks or would track."""
    command = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--full-name",
        "--",
    ]
    listed = subprocess.run([*command, *paths], check=True, capture_output=True, text=True).stdout
    names = sorted({name for name in listed.splitlines() if not SKIPPED.fullmatch(name)})
    files = (ROOT / name for name in names)
    return [f for f in files if (f.suffix in TEXT or NAMES.fullmatch(f.name)) and f.is_file()]


def main(paths: Sequence[str]) -> int:
    """Print every finding below ``paths`` (everything: none given); 1 if there is any."""
    found = list(_report(tracked(paths or [str(ROOT)])))
    for line in found:
        print(line)
    return 1 if found else 0


def _report(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        for finding in check(prose_of(file)):
            place = f"{file.relative_to(ROOT)}:{finding.line}"
            yield f"{place}: {finding.found} → {finding.better}"


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _copy(
    source: Sequence[str], target: list[str], start: tuple[int, int], end: tuple[int, int]
) -> None:
    """Copy the characters from ``start`` to ``end``, both (line from 1, column)."""
    for number in range(start[0] - 1, end[0]):
        line, kept = source[number], target[number]
        first = start[1] if number == start[0] - 1 else 0
        last = end[1] if number == end[0] - 1 else len(line)
        target[number] = kept[:first] + line[first:last] + kept[last:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
