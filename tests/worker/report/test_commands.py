"""Pages of single files, of several, and of results that are there already."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.samples import sample_path
from detection_worker.__main__ import main

pytestmark = pytest.mark.slow


def test_predict_writes_a_page_of_one_file_with_evidence(tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    code = main(["predict", str(sample_path("cat-reconstructed.png")), "--report", str(page)])

    text = page.read_text()
    assert code == 0
    assert "Looks manipulated" in text
    assert text.count("data:image/jpeg;base64,") == 3
    assert "Every part of the picture by itself" in text
    assert "The pixels that move the score most" in text
    assert "What it gets wrong" in text
    assert page.stat().st_size < 1_500_000


def test_predict_writes_a_list_of_several_with_a_page_each(tmp_path: Path) -> None:
    odd = tmp_path / 'a <b> " .jpg'
    odd.write_bytes(sample_path("cat.png").read_bytes())
    broken = tmp_path / "broken.png"
    broken.write_bytes(sample_path("cat.png").read_bytes()[:3000])
    page = tmp_path / "list: all.html"

    code = main(
        ["predict", str(odd), str(broken), str(sample_path("reading.wav")), "--report", str(page)]
    )

    text = page.read_text()
    assert code == 1
    assert "a &lt;b&gt; &#34; .jpg" in text
    assert "Could not be analysed" in text
    for number in (1, 2, 3):
        assert f'href="./list%3A%20all_files/{number:05d}.html"' in text
        own = tmp_path / "list: all_files" / f"{number:05d}.html"
        assert 'href="../list%3A%20all.html"' in own.read_text()
    assert text.count("data:image/jpeg;base64,") == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--report", "page.txt"], "Name a file that ends with .html."),
        (["--report", "no-such-folder/page.html"], "no such folder"),
        (["--report", "same.html", "--output", "same.html"], "Two outputs have the same name"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_at_once(
    options: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["predict", str(sample_path("cat.png")), *options]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("result") / "result.json"
    assert main(["predict", str(sample_path("dandelion-pan.mp4")), "--output", str(path)]) == 0
    return path


def test_a_stored_result_has_a_page_and_with_its_file_pictures(
    result: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"

    assert main(["report", str(result), "-o", str(page)]) == 0
    assert "this page was made from the stored result alone" in page.read_text()
    assert "What it gets wrong" in page.read_text()

    media = str(sample_path("dandelion-pan.mp4"))
    assert main(["report", str(result), "--media", media, "-o", str(page)]) == 0
    assert page.read_text().count("data:image/jpeg;base64,") == 16


def test_frames_that_are_not_those_of_the_result_are_left_out(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    media = str(sample_path("dandelion-pan.mp4"))

    options = ["--media", media, "--frames", "3", "-o", str(page)]
    assert main(["report", str(result), *options]) == 0
    assert "no frames are shown" in capsys.readouterr().err
    assert "data:image/jpeg" not in page.read_text()


def test_a_result_that_cannot_be_compared_with_its_file_is_refused(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    envelope = json.loads(result.read_text())
    options = ["--media", str(sample_path("dandelion-pan.mp4")), "-o", str(tmp_path / "page.html")]
    path = tmp_path / "result.json"

    path.write_text(json.dumps({**envelope, "tracks": 5, "segments": None}))
    assert main(["report", str(path), *options]) == 0
    assert "no frames are shown" in capsys.readouterr().err

    path.write_text(json.dumps({**envelope, "media": {}}))
    assert main(["report", str(path), *options]) == 2
    assert "Leave --media out." in capsys.readouterr().err


def test_what_is_no_result_or_another_file_is_refused(
    result: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = str(tmp_path / "page.html")
    other = str(sample_path("dandelion-pan-reconstructed.mkv"))
    assert main(["report", str(result), "--media", other, "-o", page]) == 2
    assert "is not the file of this result" in capsys.readouterr().err

    for text, words in (("[]", "it is JSON, but no result"), ("{", "it is not JSON")):
        stdin: Any = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["report", "-", "-o", page]) == 2
        assert words in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none.json"), "-o", page]) == 2
    assert "Cannot read" in capsys.readouterr().err
    assert not Path(page).exists()


def test_a_result_in_s3_has_a_page(
    result: Path, tmp_path: Path, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", local_aws.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", local_aws.credentials.secret_access_key)
    local_aws.s3().create_bucket(Bucket="pages")
    failed = json.loads(result.read_text()) | {
        "status": "failed",
        "error": {"code": "undecodable", "message": "no video"},
    }
    local_aws.s3().put_object(Bucket="pages", Key="r.json", Body=json.dumps(failed).encode())
    page = tmp_path / "page.html"

    endpoint = ["--endpoint-url", str(local_aws.endpoint_url)]
    assert main(["report", "s3://pages/r.json", "-o", str(page), *endpoint]) == 0
    assert "Could not be analysed" in page.read_text()
