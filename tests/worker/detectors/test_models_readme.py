"""What models/README.md says of published weights is what the import does."""

import re
from pathlib import Path

import pytest
import torch

from detection_worker.detectors import architectures
from detection_worker.detectors.importing.published import PUBLISHED

README = (Path(__file__).parents[3] / "models" / "README.md").read_text()
ROW = re.compile(r"^\| `([\w-]+)` \| (.+?) \| (.+?) \| (\w+, \w+) \| ([\d,]+) \|$", re.MULTILINE)
TABLE = {name: (classes, parameters) for name, _, _, classes, parameters in ROW.findall(README)}


def test_the_table_has_every_architecture_that_can_be_imported() -> None:
    assert sorted(TABLE) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_row_tells_the_order_of_classes_and_the_size(name: str) -> None:
    published = PUBLISHED[name][0]
    with torch.device("meta"):
        network = architectures.build_network(name, dict(published.params), where="test")

    parameters = sum(p.numel() for p in network.parameters())
    assert TABLE[name] == (", ".join(published.classes), f"{parameters:,}")
