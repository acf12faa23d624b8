import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from detection_training.audio import stages
from detection_training.pipeline import locked
from detection_training.pipeline.locked import FOLDER, Locked, data_card, fetch_locked, read_lock
from detection_worker.errors import UsageError

CONTENT = "abc"
SPEECH = Locked(
    name="some-speech",
    kind="deb",
    version="1.0-2",
    sha256=hashlib.sha256(CONTENT.encode()).hexdigest(),
    holds="speech",
    license="CC0-1.0",
)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that stand in for apt-get and dpkg-deb; the first notes what it was asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "apt-get").write_text(
        f"#!/bin/sh\necho \"$2\" >> {folder}/asked\nprintf '{CONTENT}' > some-speech_1.0.deb\n"
    )
    (folder / "dpkg-deb").write_text(
        '#!/bin/sh\n/bin/mkdir -p "$3/usr" && /bin/cp "$2" "$3/usr/x"\n'
    )
    for name in ("apt-get", "dpkg-deb"):
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def silent(_: str) -> None:
    pass


def test_the_locked_version_is_asked_for_and_unpacked(apt: Path, tmp_path: Path) -> None:
    folders = fetch_locked([SPEECH], tmp_path / "cache", log=silent)

    assert (apt / "asked").read_text() == "some-speech=1.0-2\n"
    assert (folders["some-speech"] / "usr/x").read_text() == CONTENT


def test_what_is_there_is_not_fetched_again(apt: Path, tmp_path: Path) -> None:
    fetch_locked([SPEECH], tmp_path, log=silent)
    fetch_locked([SPEECH], tmp_path, log=silent)

    assert (apt / "asked").read_text().count("\n") == 1


def test_other_bytes_than_the_locked_ones_are_refused(apt: Path, tmp_path: Path) -> None:
    other = replace(SPEECH, sha256="0" * 64)

    with pytest.raises(UsageError, match=r"some-speech 1\.0-2: sha256 is .*, but locked is 0+\n"):
        fetch_locked([other], tmp_path, log=silent)

    assert apt.is_dir()
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_package_without_its_program_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match=r"cannot be fetched\nInstall npm\."):
        fetch_locked([replace(SPEECH, kind="npm")], tmp_path, log=silent)


def test_a_package_that_is_no_longer_offered_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("apt-get", "echo 'E: Version not found' >&2; exit 100"), ("dpkg-deb", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match=r"E: Version not found\n.*still offers this version"):
        fetch_locked([SPEECH], tmp_path, log=silent)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"packages": [{"name": "x"}]}'])
def test_a_broken_lock_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "some.lock.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=r"some\.lock\.json: not a lock file"):
        read_lock(path)


def test_a_lock_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "some.lock.json"

    locked.write_lock(path, [SPEECH])

    assert read_lock(path) == (SPEECH,)


def test_the_shipped_lock_fixes_every_package_and_names_no_host() -> None:
    packages = read_lock(stages.LOCK)

    assert len({package.name for package in packages}) == len(packages)
    assert all(re.fullmatch(r"[0-9a-f]{64}", package.sha256) for package in packages)
    assert all(package.version and package.license for package in packages)
    assert "://" not in stages.LOCK.read_text()


def test_the_data_card_lists_every_package_with_its_licence_and_use() -> None:
    card = data_card([SPEECH], {"some-speech": {"clips": 3, "minutes": 0.2}})

    (entry,) = card["packages"]
    assert (entry["license"], entry["clips"], entry["minutes"]) == ("CC0-1.0", 3, 0.2)
    json.dumps(card)
