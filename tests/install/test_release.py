"""What is released says under which licence, and one version everywhere."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml

LEGAL = ("LICENSE", "NOTICE")
SAMPLES = "testing/detection_testing/samples"


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built by the locked hatchling."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
        cwd=root, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_wheel_and_sdist_carry_licence_and_notice(built: Path, root: Path) -> None:
    [wheel] = built.glob("*.whl")
    [source] = built.glob("*.tar.gz")

    with zipfile.ZipFile(wheel) as archive:
        for name in LEGAL:
            [member] = [n for n in archive.namelist() if n.endswith(f".dist-info/licenses/{name}")]
            assert archive.read(member) == (root / name).read_bytes()
        [metadata] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        fields = Parser().parsestr(archive.read(metadata).decode())
    with tarfile.open(source) as archive_of_sources:
        names = {name.partition("/")[2] for name in archive_of_sources.getnames()}

    assert fields["License-Expression"] == "Apache-2.0"
    assert set(fields.get_all("License-File") or ()) == set(LEGAL)
    assert {*LEGAL, f"{SAMPLES}/LICENSES.md", "models/face-mtcnn/LICENSE.md"} <= names


@pytest.mark.slow
def test_the_notices_of_weights_and_samples_are_installed(built: Path) -> None:
    [wheel] = built.glob("*.whl")

    names = zipfile.ZipFile(wheel).namelist()

    assert "detection_testing/samples/LICENSES.md" in names
    assert "detection_worker/bundled_models/face-mtcnn/LICENSE.md" in names


def test_project_and_chart_name_the_licence_of_the_file(root: Path, project: Any) -> None:
    chart = yaml.safe_load((root / "charts" / "detection-queue" / "Chart.yaml").read_text())
    text = (root / "LICENSE").read_text()

    assert re.match(r"\s+Apache License\s+Version 2\.0, January 2004\n", text)
    assert "END OF TERMS AND CONDITIONS" in text
    assert project["project"]["license"] == "Apache-2.0"
    assert chart["annotations"]["artifacthub.io/license"] == "Apache-2.0"


def test_the_notice_names_every_bundled_model_and_the_samples(root: Path) -> None:
    notice = (root / "NOTICE").read_text()
    weights = {path.parent.name for path in (root / "models").glob("*/model.safetensors")}
    manifests = {path.parent.name for path in (root / "models").glob("*/manifest.json")}

    assert len(weights | manifests) >= 5
    assert [name for name in sorted(weights | manifests) if name not in notice] == []
    for path in re.findall(r"(?:models|testing)/[\w./-]+\.(?:md|json)", notice):
        assert (root / path).exists(), path


def test_every_sample_has_its_licence_in_the_list(root: Path) -> None:
    listed = (root / SAMPLES / "LICENSES.md").read_text()
    files = [p.name for p in (root / SAMPLES).iterdir() if p.is_file()]
    media = [name for name in files if not name.endswith((".md", ".py"))]

    assert len(media) >= 9
    assert [name for name in media if f"| `{name}` |" not in listed] == []


def test_the_version_is_a_release_of_the_changelog_below_what_is_unreleased(
    root: Path, project: Any
) -> None:
    headings = re.findall(r"^## (.+)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{project['project']['version']} - \d{{4}}-\d\d-\d\d", headings[1])
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", h) for h in headings[1:])
