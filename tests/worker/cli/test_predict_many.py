"""``predict`` on many files: what is done is kept, and a person sees how far it is."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_worker.api.inputs import failed
from detection_worker.cli.predict import run as predict_run
from detection_worker.cli.predict.command import Plan
from detection_worker.cli.progress import Progress, progress_text
from detection_worker.errors import JobError
from detection_worker.settings import Settings

TIMEOUT_S = 120
MANY = 400


@pytest.fixture
def folder(home: Path) -> Path:
    made = home / "in"
    made.mkdir()
    sample_media.make_image(made / "a.png")
    sample_media.make_audio(made / "b.wav", codec="pcm_s16le")
    sample_media.make_image(made / "photo.png").rename(made / "photo")
    (made / "broken.png").write_bytes(b"no picture")
    return made


@pytest.fixture
def many(home: Path) -> Path:
    """So many names of one picture that there is time to interrupt."""
    made = home / "many"
    made.mkdir()
    first = sample_media.make_image(made / "00000.png")
    for number in range(1, MANY):
        os.link(first, made / f"{number:05}.png")
    return made


@pytest.fixture
def predict(run_forked: Callable[..., Any], tiny_models: Path) -> Callable[..., Any]:
    def run(*args: str, **more: Any) -> Any:
        return run_forked("predict", "--models-dir", str(tiny_models), *args, **more)

    return run


def names(results: list[dict[str, Any]]) -> list[str]:
    return [Path(result["file_path"]).name for result in results]


@pytest.mark.slow
class TestFormats:
    """One run writes the same results as JSON, JSON Lines and CSV."""

    ALL = ("a.png", "b.wav", "broken.png", "photo")

    def test_json_is_a_list_in_the_order_of_the_inputs(
        self, predict: Callable[..., Any], folder: Path, home: Path
    ) -> None:
        ended = predict("in", "-o", "all.json")

        results = json.loads((home / "all.json").read_text())
        assert ended.code == 1
        assert names(results) == list(self.ALL)
        assert [r["status"] for r in results] == ["finished", "finished", "failed", "finished"]
        assert "Results saved to all.json" in ended.out

    def test_the_name_of_the_output_chooses_csv(
        self, predict: Callable[..., Any], folder: Path, home: Path
    ) -> None:
        predict("in", "-o", "all.csv")

        with (home / "all.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [Path(row["file_path"]).name for row in rows] == list(self.ALL)
        assert [row["error_code"] for row in rows] == ["", "", "unsupported_type", ""]
        assert all(row["verdict"] in {"fake", "real"} for row in rows if not row["error_code"])

    def test_a_format_without_an_output_goes_to_stdout_alone(
        self, predict: Callable[..., Any], folder: Path
    ) -> None:
        ended = predict("in", "--format", "jsonl")

        results = [json.loads(line) for line in ended.out.splitlines()]
        assert names(results) == list(self.ALL)
        assert ended.code == 1

    def test_a_list_on_standard_input_names_the_files(
        self, predict: Callable[..., Any], folder: Path
    ) -> None:
        ended = predict(
            "--files-from", "-", "--format", "csv", "in/b.wav", stdin="in/a.png\ngone.png\n"
        )

        rows = list(csv.DictReader(io.StringIO(ended.out)))
        assert [row["file_path"] for row in rows] == ["in/b.wav", "in/a.png", "gone.png"]


@pytest.mark.slow
def test_one_bad_file_stops_no_other_and_each_reason_is_told_once(
    predict: Callable[..., Any], folder: Path
) -> None:
    (folder / "empty.png").touch()

    ended = predict("gone.png", "in", "also-gone.png")

    assert ended.code == 1
    assert "7 files: " in ended.out
    assert "4 failed" in ended.out
    assert (
        "File not found: gone.png (and 1 more: bad_url)\n"
        "Check the path; an S3 URL looks like s3://BUCKET/KEY.\n"
    ) in ended.err
    assert "The file is empty: in/empty.png\nCopy or upload it again.\n" in ended.err


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (["gone.png"], "File not found: gone.png"),
        (["gone.png", "s3://bucket/a.png"], "AWS credentials not found!"),
    ],
)
def test_missing_files_and_credentials_are_told_without_loading_torch(
    clean_environment: dict[str, str], home: Path, inputs: list[str], text: str
) -> None:
    program = (
        "import sys; from detection_worker.__main__ import main\n"
        f"code = main(['predict', *{inputs!r}])\n"
        "print(code, [m for m in ('torch', 'av', 'cv2') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=home,
        env=clean_environment,
        check=True,
        timeout=TIMEOUT_S,
    )

    assert done.stdout.splitlines()[-1] == "1 []"
    assert text in done.stderr


@pytest.mark.parametrize("option", ["--output", "--evidence", "--saliency"])
def test_no_input_is_overwritten(run_cli: Callable[..., Any], home: Path, option: str) -> None:
    image = sample_media.make_image(home / "a.png")
    before = image.read_bytes()
    (home / "link.png").symlink_to("a.png")

    for target in ("a.png", "./a.png", "link.png"):
        ended = run_cli("predict", "a.png", option, target)
        assert ended.code == 2
        assert "is an input and would be overwritten" in ended.err
    assert image.read_bytes() == before


@pytest.fixture
def start(
    tiny_models: Path, home: Path, clean_environment: dict[str, str]
) -> Callable[..., subprocess.Popen[str]]:
    def begin(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "detection_worker", "predict", *args]
        return subprocess.Popen(
            [*command, "--models-dir", str(tiny_models)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env=clean_environment,
            start_new_session=True,
        )

    return begin


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not path.exists() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert path.exists()
    assert process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("output", ["out.json", "out.jsonl", "out.csv"])
def test_an_interrupt_keeps_what_is_done(
    start: Callable[..., Any], many: Path, home: Path, output: str
) -> None:
    process = start("many", "-o", output)
    wait_for(home / output, process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does, the decoders too
    out, err = process.communicate(timeout=TIMEOUT_S)

    text = (home / output).read_text()
    read: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "out.json": lambda: list(json.loads(text)),
        "out.jsonl": lambda: [json.loads(line) for line in text.splitlines()],
        "out.csv": lambda: list(csv.DictReader(io.StringIO(text))),
    }
    done = read[output]()
    assert process.returncode == 130
    assert 0 < len(done) < MANY
    assert names(done) == sorted(names(done))
    assert {row["status"] for row in done} == {"finished"}
    assert f"{len(done)} of {MANY} files were analysed; they are in {output}" in err
    assert re.search(rf"^{len(done)} files?: ", out, re.MULTILINE)
    assert "Traceback" not in err
    assert sorted(p.name for p in home.iterdir()) == ["many", output]


class TwiceInterrupted:
    """A predictor and its batch: Ctrl-C comes, and once more while results are being kept."""

    ended = False

    def __enter__(self) -> "TwiceInterrupted":
        return self

    def __exit__(self, *_: object) -> None:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # a third one ends at once

    def batch(self, names: list[str], *, pictures: bool) -> "TwiceInterrupted":
        assert not pictures
        return self

    def poll(self, timeout_s: float) -> list[Any]:
        raise KeyboardInterrupt

    def close(self) -> None:
        signal.raise_signal(signal.SIGINT)

    def finished(self) -> list[Any]:
        signal.raise_signal(signal.SIGINT)
        return [failed("a.png", JobError(ErrorCode.UNDECODABLE, "damaged"), threshold=0.5)]


class InterruptedMeanwhile(TwiceInterrupted):
    """A batch that has handed out two results as Ctrl-C comes."""

    def poll(self, timeout_s: float) -> list[Any]:
        signal.raise_signal(signal.SIGINT)
        error = JobError(ErrorCode.UNDECODABLE, "damaged")
        return [failed(name, error, threshold=0.5) for name in ("a.png", "b.png")]

    def close(self) -> None:
        pass

    def finished(self) -> list[Any]:
        return []


@pytest.mark.parametrize(
    ("batch", "kept"), [(TwiceInterrupted, ["a.png"]), (InterruptedMeanwhile, ["a.png", "b.png"])]
)
def test_an_interrupt_at_a_bad_moment_costs_no_result(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    batch: type[TwiceInterrupted],
    kept: list[str],
) -> None:
    monkeypatch.setattr(predict_run, "Predictor", lambda *_, **__: batch())
    plan = Plan(
        names=["a.png", "b.png"],
        total=2,
        threshold=0.5,
        output=str(tmp_path / "out.json"),
        form="json",
        drawings={},
        report=None,
        device="cpu",
        threads=1,
        decoders=1,
        verbose=False,
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            predict_run.run(plan, Settings())
    finally:
        signal.signal(signal.SIGINT, before)

    assert names(json.loads((tmp_path / "out.json").read_text())) == kept
    assert f"{len(kept)} of 2 files were analysed" in capsys.readouterr().err


@pytest.mark.slow
def test_an_early_interrupt_leaves_an_earlier_output_until_there_is_a_result(
    start: Callable[..., Any], many: Path, home: Path
) -> None:
    (home / "out.json").write_text("earlier")
    process = start("many", "-o", "out.json", "--verbose")
    while "Loaded models" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=TIMEOUT_S)

    done = int(re.search(rf"(\d+) of {MANY} files were analysed", err).group(1))  # type: ignore[union-attr]
    assert process.returncode == 130
    assert ("they are in" in err) == (done > 0)
    assert ((home / "out.json").read_text() == "earlier") == (done == 0)


@pytest.mark.slow
def test_a_kill_keeps_what_is_done(start: Callable[..., Any], many: Path, home: Path) -> None:
    process = start("many", "-o", "out.json")
    wait_for(home / "out.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)

    done = json.loads((home / "out.json").read_text())
    assert 0 < len(done) < MANY
    assert names(done) == [f"{number:05}.png" for number in range(len(done))]


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_the_run(
    tiny_models: Path, many: Path, home: Path, clean_environment: dict[str, str]
) -> None:
    command = (
        f"{sys.executable} -m detection_worker predict many --models-dir {tiny_models} "
        "-o out.jsonl; echo code $? >&2"
    )

    done = subprocess.run(
        ["bash", "-c", f"( {command} ) | head -2"],
        capture_output=True,
        text=True,
        cwd=home,
        env=clean_environment,
        check=False,
        timeout=TIMEOUT_S,
    )

    assert done.stderr == "code 141\n"
    assert done.stdout.splitlines()[0].startswith("Verdict")
    kept = [json.loads(line) for line in (home / "out.jsonl").read_text().splitlines()]
    assert 0 < len(kept) < MANY


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--format", "json")])
def test_standard_output_on_a_full_disk_is_told_in_a_sentence(
    tiny_models: Path,
    folder: Path,
    home: Path,
    clean_environment: dict[str, str],
    more: tuple[str, ...],
) -> None:
    command = [sys.executable, "-m", "detection_worker", "predict", "in", *more]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--models-dir", str(tiny_models)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env=clean_environment,
            check=False,
            timeout=TIMEOUT_S,
        )

    assert done.returncode in {1, 2}
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.slow
def test_a_terminal_shows_how_far_it_is_within_its_columns(
    at_terminal: Callable[..., Any], tiny_models: Path, many: Path
) -> None:
    terminal = at_terminal(
        "predict", "many", "--models-dir", str(tiny_models), env={"COLUMNS": "80"}
    )

    terminal.expect(f"{MANY} files: ")
    assert terminal.end() == 0
    assert re.search(rf"\r\d+ of {MANY} files, \d+\.\d files/s, \d:\d\d left", terminal.seen)
    assert "\x1b" not in terminal.seen
    for line in re.split(r"[\r\n]+", terminal.seen):
        assert len(line) <= 80, line


@pytest.mark.slow
def test_results_on_a_terminal_do_not_run_into_the_progress_line(
    at_terminal: Callable[..., Any], tiny_models: Path, many: Path
) -> None:
    terminal = at_terminal(
        "predict", "many", "--models-dir", str(tiny_models), "--format", "jsonl"
    )

    assert terminal.end() == 0
    lines = re.split(r"[\r\n]+", terminal.seen)
    results = [json.loads(line) for line in lines if '"request_id"' in line]
    assert len(results) == MANY
    assert re.search(rf"\r\d+ of {MANY} files", terminal.seen)


class TestProgress:
    """The line itself."""

    @pytest.mark.parametrize(
        ("done", "rate", "text"),
        [
            (0, None, "0 of 120 files"),
            (20, 4.2, "20 of 120 files, 4.2 files/s, 0:24 left"),
            (20, 0.01, "20 of 120 files, 0.0 files/s, 2:46:40 left"),
            (120, 9.0, "120 of 120 files, 9.0 files/s, 0:00 left"),
        ],
    )
    def test_it_tells_files_rate_and_time_left(
        self, done: int, rate: float | None, text: str
    ) -> None:
        assert progress_text(done, 120, rate) == text

    def test_away_from_a_terminal_it_is_silent(self) -> None:
        stream = io.StringIO()
        progress = Progress(10, stream=stream)

        progress.show(3)
        progress.clear()

        assert stream.getvalue() == ""

    def test_it_leaves_nothing_on_the_line(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        stream = Terminal()
        progress = Progress(10, stream=stream)
        progress.show(3)
        shown = stream.getvalue()
        progress.clear()

        assert shown == "\r3 of 10 files"
        assert stream.getvalue().removeprefix(shown) == "\r" + " " * len("3 of 10 files") + "\r"
