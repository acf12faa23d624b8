"""What a user names, as files to analyse; nothing is left out without a word."""

import errno
import os
import socket
from pathlib import Path

import pytest

from detection_testing.samples import sample_path
from detection_worker.cli.predict.inputs import Found, expand, listed, skipped_line
from detection_worker.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    (made / "sub").mkdir(parents=True)
    return made


def names(found: Found, folder: Path) -> list[str]:
    return [os.path.relpath(name, folder) for name in found.names]


def why(found: Found, folder: Path) -> dict[str, str]:
    return {os.path.relpath(name, folder): reason for name, reason in found.skipped}


def test_extensions_count_and_unknown_ones_are_told_by_their_content(folder: Path) -> None:
    (folder / "a.JPG").write_bytes(b"whatever it holds")
    (folder / "sub" / "photo").write_bytes(sample_path("cat.png").read_bytes())
    (folder / "clip.m4v").write_bytes(sample_path("dandelion-pan.mp4").read_bytes())
    (folder / "voice.wave").write_bytes(sample_path("reading.wav").read_bytes())
    (folder / "anim.gif").write_bytes(b"GIF89a" + bytes(100))
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty").touch()

    found = expand([str(folder)])

    assert names(found, folder) == ["a.JPG", "clip.m4v", "sub/photo", "voice.wave"]
    assert why(found, folder) == {
        "anim.gif": "a GIF image",
        "empty": "of an unknown type",
        "notes.txt": "of an unknown type",
    }


def test_what_is_no_file_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.png").write_bytes(b"x")
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "self.png").symlink_to("self.png")
    (folder / "loop").symlink_to("..")
    (folder / "sub" / "link.png").symlink_to("../a.png")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(folder)  # the path of a socket must be short
        server.bind("s.png")

    found = expand([str(folder)])

    assert names(found, folder) == ["a.png", "sub/link.png"]
    assert why(found, folder) == {
        "gone.png": "cannot be opened (No such file or directory)",
        "loop": "a link to a folder",
        "pipe.png": "a pipe",
        "s.png": "a socket",
        "self.png": "cannot be opened (Too many levels of symbolic links)",
    }


def test_a_folder_that_may_not_be_read_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.png").write_bytes(b"x")
    scan = os.scandir

    def refuse_sub(path: str) -> object:  # root, who may run this, is refused nothing
        if path.endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse_sub)

    found = expand([str(folder)])

    assert why(found, folder) == {"sub": "Permission denied"}


def test_folders_files_and_urls_keep_their_order_and_repetitions(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"x")
    (folder / "a.png").write_bytes(b"x")
    a, b = str(folder / "a.png"), str(folder / "b.png")

    found = expand(["s3://bucket/in/", b, str(folder), "gone.png", b])

    assert found.names == ["s3://bucket/in/", b, a, b, "gone.png", b]


def test_what_the_run_writes_is_no_input_of_it(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"x")
    (folder / "out.png").write_bytes(b"x")

    found = expand([str(folder)], leave_out=[folder / "sub" / ".." / "out.png"])

    assert names(found, folder) == ["a.png"]
    assert found.skipped == []


def test_a_folder_without_media_is_an_error_that_says_what_it_holds(folder: Path) -> None:
    (folder / "notes.txt").write_text("nothing")

    with pytest.raises(UsageError, match=r"No media files in .*in \(1 file skipped\)\n"):
        expand([str(folder)])


def test_ten_thousand_files_are_found_in_order(folder: Path) -> None:
    for number in range(10_000):
        (folder / f"{number:05}.png").touch()

    found = expand([str(folder)])

    assert names(found, folder) == [f"{number:05}.png" for number in range(10_000)]


def test_hostile_names_survive_and_are_shown_harmless(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"x")
    raw = os.fsencode(folder) + b"/\xff\x1b[2J\n.txt"
    Path(os.fsdecode(raw)).write_text("nothing")

    found = expand([str(folder)])

    assert os.fsencode(found.skipped[0][0]) == raw
    line = skipped_line(found.skipped, all_of_them=False)
    assert len(line.splitlines()) == 2
    assert "\x1b" not in line


def test_a_list_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa b.png\r\nc.wav\r\n")

    assert listed(str(tmp_path / "list.txt")) == ["a b.png", "c.wav"]


def test_only_the_first_skipped_files_are_named_and_the_rest_counted() -> None:
    skipped = [(f"{n}.txt", "of an unknown type") for n in range(7)]

    short, long = (skipped_line(skipped, all_of_them=every) for every in (False, True))

    assert short.startswith("Skipped 7 files:\n  0.txt: of an unknown type\n")
    assert short.endswith("\n  and 2 more; --verbose lists all")
    assert long.endswith("\n  6.txt: of an unknown type")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a.png\nb c.png\n\ns3://b/k\n", ["a.png", "b c.png", "s3://b/k"]),
        (b"a.png\r\nb.png", ["a.png", "b.png"]),
        (b"a\nb.png\0c.png\0", ["a\nb.png", "c.png"]),
        (b"\xff.png\n", ["\udcff.png"]),
        (b"", []),
    ],
)
def test_a_list_has_one_name_a_line_or_zero_bytes_between(
    tmp_path: Path, data: bytes, expected: list[str]
) -> None:
    (tmp_path / "list").write_bytes(data)

    assert listed(str(tmp_path / "list")) == expected


def test_a_list_that_cannot_be_read_is_told() -> None:
    with pytest.raises(UsageError, match="Cannot read gone: No such file"):
        listed("gone")
