"""Networks are written in torch alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

from detection_worker.detectors import networks

TORCH = {"torch", "torchaudio", "torchvision"}
LANGUAGE = {"collections", "dataclasses", "functools", "itertools", "math", "re", "typing"}
PACKAGE = networks.__name__


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def test_networks_import_torch_the_language_and_each_other() -> None:
    files = sorted(Path(networks.__path__[0]).rglob("*.py"))

    others = {
        f"{path.name}: {name}"
        for path in files
        for name in imported(path)
        if name.partition(".")[0] not in TORCH | LANGUAGE and not name.startswith(PACKAGE + ".")
    }

    assert len(files) > 15
    assert others == set()
