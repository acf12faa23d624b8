from pathlib import Path

import pytest

from detection_training.evaluation.items import from_folders, from_manifest
from detection_worker.errors import UsageError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def manifest(root: Path, text: str) -> Path:
    file = root / "manifest.csv"
    file.write_text(text)
    return file


def test_folders_name_sources_families_and_files(tmp_path: Path) -> None:
    real = touch(tmp_path / "a", "en/1.wav", "2.PNG", "notes.txt")
    fake = touch(tmp_path / "b", "vocoder/x/1.wav", "2.png")

    found = from_folders(real, fake)

    assert [(i.name, i.fake, i.source, i.family) for i in found.items] == [
        ("real/2.PNG", False, "real", "real"),
        ("real/en/1.wav", False, "en", "real"),
        ("fake/2.png", True, "fake", "fake"),
        ("fake/vocoder/x/1.wav", True, "fake", "vocoder"),
    ]
    assert [i.group for i in found.items] == [i.name for i in found.items]
    assert not found.grouped


def test_files_of_one_folder_can_be_one_group(tmp_path: Path) -> None:
    real = touch(tmp_path / "a", "ann/1.wav", "ann/2.wav", "bob/1.wav")
    fake = touch(tmp_path / "b", "ann/1.wav")

    found = from_folders(real, fake, group_by_folder=True)

    assert [i.group for i in found.items] == ["real/ann", "real/ann", "real/bob", "fake/ann"]
    assert found.grouped


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        pytest.param("media", "absent", r"No such folder: .*absent", id="absent"),
        pytest.param("media", "empty", r"No media files in .*empty \(it is empty\)", id="empty"),
        pytest.param(
            "media",
            "papers",
            r"No media files in .*papers \(2 \.txt, 1 \.pdf\)\nGive",
            id="papers",
        ),
        pytest.param("media", "media", r"overlap: .*\nReal and fake", id="the same twice"),
        pytest.param("media", "media/in", r"overlap", id="one in the other"),
        pytest.param("media", "media/../media", r"overlap", id="the same by another name"),
    ],
)
def test_folders_that_cannot_be_measured_are_refused(
    tmp_path: Path, real: str, fake: str, message: str
) -> None:
    touch(tmp_path, "media/in/1.wav", "papers/1.txt", "papers/2.txt", "papers/3.pdf")
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=message):
        from_folders(tmp_path / real, tmp_path / fake)


def test_a_manifest_names_everything_that_is_known(tmp_path: Path) -> None:
    file = manifest(
        tmp_path,
        "Path,label,family,source,speaker,photo,codec,split,seen,language\n"
        "1.wav,bonafide,,asterisk,ann,,g722,test,,en\n"
        "2.wav,SPOOF,vocoder,asterisk,,p7,,test,no,en\n",
    )

    found = from_manifest(file)

    one, two = found.items
    assert (one.path, one.fake, one.source, one.family) == (
        tmp_path / "1.wav",
        False,
        "asterisk",
        "real",
    )
    assert (one.group, one.codec, one.seen) == ("speaker:ann", "g722", None)
    assert (two.fake, two.family, two.group, two.seen) == (True, "vocoder", "photo:p7", False)
    assert found.grouped


def test_a_split_of_a_manifest_is_chosen(tmp_path: Path) -> None:
    file = manifest(tmp_path, "path,label,split\n1.wav,real,train\n2.wav,fake,test\n")

    assert [i.name for i in from_manifest(file, split="test").items] == ["2.wav"]
    with pytest.raises(UsageError, match=r"Its splits are: test, train\."):
        from_manifest(file, split="dev")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", r"no column path and no column label\n", id="empty"),
        pytest.param("path;label\n1.wav;real\n", r"no column path", id="semicolons"),
        pytest.param("path,label\n", r"It has no rows", id="header only"),
        pytest.param(
            "path,label\n1.wav,maybe\n", r"line 2: label 'maybe'\nUse one of", id="label"
        ),
        pytest.param("path,label\n,real\n", r"line 2: no usable path", id="no path"),
        pytest.param("path,label,seen\n1.wav,real,x\n", r"line 2: seen 'x'", id="seen"),
        pytest.param("path,label\na,real\na,real\n", r"names a twice", id="twice"),
        pytest.param("path,label\na,real\na,fake\n", r"as real and as fake", id="both"),
        pytest.param("path,label\n" + "x" * 200_000 + ",real\n", r"Cannot read", id="huge field"),
    ],
)
def test_a_manifest_with_a_mistake_is_refused_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        from_manifest(manifest(tmp_path, text))


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"path,label\n\xff\xfe,real\n")

    for name in ("m.csv", "absent.csv"):
        with pytest.raises(UsageError, match=r"Cannot read the manifest"):
            from_manifest(tmp_path / name)
