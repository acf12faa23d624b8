import hashlib
import json
from pathlib import Path

import pytest

from detection_training.audio import plan as audio_plan
from detection_training.audio import stages as audio_stages
from detection_training.audio.corpus import voices
from detection_training.audio.spoken import SENTENCES
from detection_training.image import plan as image_plan
from detection_training.image import stages as image_stages
from detection_training.image.making.photographs import FEW, Photo, at_hand
from detection_training.pipeline import full_disk
from detection_training.pipeline.locked import Media
from detection_training.pipeline.sources import LOCK_NAME, NoMediaError, Source, fetch
from detection_training.pipeline.splits import Split
from detection_worker.errors import UsageError

Capture = pytest.CaptureFixture[str]
DEB = Source(name="some-speech", kind="deb", holds="speech", license="CC0-1.0")


def test_a_package_in_the_cache_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "some-speech").mkdir()
    said: list[str] = []

    folders = fetch(tmp_path, sources=[DEB], log=said.append)

    assert folders == {"some-speech": tmp_path / "some-speech"}
    assert said == ["  some-speech: CC0-1.0"]


def test_without_apt_a_package_is_left_out_and_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "there").mkdir()
    said: list[str] = []

    folders = fetch(
        tmp_path,
        sources=[DEB, Source(name="there", kind="wheel", holds="photos", license="MIT")],
        log=said.append,
    )

    assert list(folders) == ["there"]
    assert "some-speech: not available (needs apt-get and dpkg-deb)" in said[0]


def test_nothing_fetched_is_an_error_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NoMediaError, match=r"No training media could be fetched!\n.*apt-get"):
        fetch(tmp_path / "cache", sources=[DEB], log=lambda _: None)


def fake_apt(folder: Path, *, content: str) -> None:
    """Write programs that stand in for apt-get and dpkg-deb."""
    (folder / "apt-get").write_text(f"#!/bin/sh\nprintf '{content}' > $2_1.0_all.deb\n")
    (folder / "dpkg-deb").write_text(
        '#!/bin/sh\n/bin/mkdir -p "$3/usr" && /bin/cp "$2" "$3/usr/x"\n'
    )
    for name in ("apt-get", "dpkg-deb"):
        (folder / name).chmod(0o755)


def test_a_fetched_package_is_unpacked_and_its_digest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_apt(tmp_path, content="abc")
    monkeypatch.setenv("PATH", str(tmp_path))

    folders = fetch(tmp_path / "cache", sources=[DEB], log=lambda _: None)

    assert (folders["some-speech"] / "usr/x").read_text() == "abc"
    lock = json.loads((tmp_path / "cache" / LOCK_NAME).read_text())
    assert lock == {"some-speech_1.0_all.deb": hashlib.sha256(b"abc").hexdigest()}


def test_a_package_that_changed_under_its_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / LOCK_NAME).write_text(json.dumps({"some-speech_1.0_all.deb": "0" * 64}))
    fake_apt(tmp_path, content="abc")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match="sha256 differs"):
        fetch(cache, sources=[DEB], log=lambda _: None)

    assert not (cache / "some-speech").exists()


def test_the_small_presets_packages_are_those_of_the_lock_files() -> None:
    speech = Media.of(audio_stages.LOCK, newest=audio_plan.SMALL_PACKAGES).packages
    photos = Media.of(image_stages.LOCK, newest=image_plan.SMALL_PACKAGES).packages

    assert {package.name for package in speech} == set(audio_plan.SMALL_PACKAGES)
    assert {package.name for package in photos} == set(image_plan.SMALL_PACKAGES)
    assert {photo.source for photo in FEW} == set(image_plan.SMALL_PACKAGES)
    assert all(package.license for package in (*speech, *photos))


def test_no_voice_and_no_sentence_is_in_two_splits(packages: Path) -> None:
    found = voices({path.name: path for path in packages.iterdir()})
    files = [file for voice in found for file in voice.files]
    sentences = [text for texts in SENTENCES.values() for text in texts]

    assert {voice.split for voice in found} == {Split.TRAIN, Split.DEV, Split.TEST}
    assert len(set(files)) == len(files)
    assert len(set(sentences)) == len(sentences)


def photo_folders(tmp_path: Path, photos: tuple[Photo, ...]) -> dict[str, Path]:
    for photo in photos:
        path = tmp_path / photo.source / photo.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return {photo.source: tmp_path / photo.source for photo in photos}


def test_photographs_that_ship_as_samples_are_used_for_nothing_else(tmp_path: Path) -> None:
    found = at_hand(photo_folders(tmp_path, FEW), FEW)

    used = {photo.path for photo in found}
    samples = {photo.path for photo in FEW if photo.split is Split.SAMPLE}
    assert len(used) == len(FEW) - len(samples)
    assert not used & samples


def test_with_wheels_alone_every_split_still_has_photographs(tmp_path: Path) -> None:
    wheels = tuple(p for p in FEW if p.source.startswith("scikit"))

    found = at_hand(photo_folders(tmp_path, wheels), FEW)

    assert {photo.split for photo in found} == {Split.TRAIN, Split.DEV, Split.TEST}
    assert len({photo.path for photo in found}) == len(found)


def failing_program(folder: Path, name: str, text: str) -> None:
    """Write a program that says one thing many times and fails; a deb is there before."""
    fake_apt(folder, content="abc")
    lines = "".join(f"echo 'tar: ./usr/{i}: {text}' >&2\n" for i in range(30))
    (folder / name).write_text(f"#!/bin/sh\n{lines}exit 2\n")


@pytest.mark.parametrize("program", ["apt-get", "dpkg-deb"])
@pytest.mark.parametrize("text", ["Cannot write: No space left on device", "Disk quota exceeded"])
def test_a_disk_that_is_full_for_another_program_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture, program: str, text: str
) -> None:
    failing_program(tmp_path, program, text)
    monkeypatch.setenv("PATH", str(tmp_path))
    cache = tmp_path / "cache"

    with (
        pytest.raises(UsageError) as caught,
        full_disk.worded(tmp_path, kept="what was downloaded is kept"),
    ):
        fetch(cache, sources=[DEB], log=lambda _: None)

    assert str(caught.value).startswith(f"No space left on the disk of {cache}")
    assert str(caught.value).endswith("run the same command again: what was downloaded is kept.")
    assert "tar: " not in capfd.readouterr().err
    assert not (cache / "some-speech").exists()


def test_a_package_that_cannot_be_unpacked_is_one_error_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    failing_program(tmp_path, "dpkg-deb", "Unexpected EOF in archive")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        UsageError, match=r"some-speech_1.0_all.deb: cannot be .* EOF in archive\n"
    ):
        fetch(tmp_path / "cache", sources=[DEB], log=lambda _: None)

    assert capfd.readouterr().err == ""
