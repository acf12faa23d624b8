"""Scoring files, and the whole command, with the models and samples that ship."""

import argparse
import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_testing.samples import SAMPLES, sample_path
from detection_training.cli import commands
from detection_training.evaluation import scoring as evaluation
from detection_training.evaluation.grid import treatments_for
from detection_training.evaluation.items import Item
from detection_training.evaluation.rows import AS_IS, Row, RowWriter
from detection_worker.cli.predict.command import COMMAND as PREDICT
from detection_worker.core.applicability import ANYTHING, Scope
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.registry import LoadedDetectors, load_detectors
from detection_worker.errors import UsageError
from detection_worker.media.decode import decode_file
from detection_worker.media.jail.wire import order_of
from detection_worker.media.values import DecodedMedia, DecodeRequest


class HereDecoder:
    """Decodes in this process: the same code without the jail, and without its start."""

    def decode(
        self,
        request: DecodeRequest,
        *,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> DecodedMedia:
        with request.path.open("rb") as file:
            return decode_file(file, order_of(request), tick=on_progress)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def scoring() -> evaluation.Scorer:
    return evaluation.Scorer(load_detectors(bundled_models_dir()), HereDecoder())


def item(path: Path, *, fake: bool = False) -> Item:
    return Item(
        path=path, name=path.name, fake=fake, family="f", source="s", group=path.name, seen=None
    )


def items(kind: MediaKind) -> Iterator[Item]:
    for sample in SAMPLES:
        if sample.kind is kind:
            yield item(sample_path(sample.name), fake=sample.truth == "fake")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The pictures among the samples, by truth, and a file that is none."""
    found = tmp_path / "real", tmp_path / "fake"
    for folder in found:
        folder.mkdir()
    for sample in SAMPLES:
        if sample.kind is MediaKind.IMAGE:
            shutil.copy(sample_path(sample.name), tmp_path / sample.truth)
    (tmp_path / "fake" / "broken <i>.png").write_bytes(b"no picture")
    return found


def evaluate(*words: str | Path | int) -> int:
    parser = argparse.ArgumentParser()
    commands.EVALUATE.configure(parser)
    return commands.EVALUATE.run(parser.parse_args([str(word) for word in words]))


@pytest.mark.slow
def test_a_file_gets_the_score_that_predict_gives_it(
    scoring: evaluation.Scorer, tmp_path: Path
) -> None:
    chosen = sample_path("cat-reconstructed.png")
    parser = argparse.ArgumentParser()
    PREDICT.configure(parser)
    out = tmp_path / "result.json"

    row = scoring.score(item(chosen, fake=True))

    models = str(bundled_models_dir())
    words = [str(chosen), "--output", str(out), "--models-dir", models]
    assert PREDICT.run(parser.parse_args(words)) == 0
    result = json.loads(out.read_text())
    assert row.score == pytest.approx(result["prediction_score"], abs=1e-4)
    assert row.model is not None
    assert row.model.sha256 == result["model"]["sha256"]
    assert (row.kind, row.found_codec, row.problem) == (MediaKind.IMAGE, "png", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        pytest.param("absent.wav", None, "no such file", id="absent"),
        pytest.param("n" * 300 + ".wav", None, "File name too long", id="long name"),
        pytest.param("empty.wav", b"", "the file is empty", id="empty"),
        pytest.param("text.png", b"hello", "unknown type", id="text"),
    ],
)
def test_what_cannot_be_scored_has_the_reason(
    scoring: evaluation.Scorer, tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    row = scoring.score(item(tmp_path / name))

    assert row.score is None
    assert problem in row.problem
    assert (row.kind, row.features) == (None, {})


class Stub:
    """Gives every crop the same logit."""

    def __init__(self, logit: float, scope: Scope = ANYTHING) -> None:
        self._logit = logit
        self.card = DetectorCard(
            name="stub",
            version="1.0.0",
            sha256="0" * 64,
            grade="demo",
            kind=MediaKind.IMAGE,
            sampling=ImageSampling(),
            pooling=Pooling(),
            calibration=Calibration(),
            scope=scope,
        )

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full(len(units), self._logit, np.float32)


@pytest.mark.parametrize(
    ("stub", "problem"),
    [
        pytest.param(Stub(float("nan")), "not finite", id="not a number"),
        pytest.param(
            Stub(0.0, Scope(min_side_px=9999)), "not applicable: too_small", id="not its kind"
        ),
    ],
)
def test_a_detector_without_an_answer_gives_the_reason(stub: Stub, problem: str) -> None:
    loaded = LoadedDetectors(by_kind={MediaKind.IMAGE: stub}, cards=(stub.card,), problems=[])
    scoring = evaluation.Scorer(loaded, HereDecoder())

    row = scoring.score(item(sample_path("cat.png")))

    assert row.score is None
    assert problem in row.problem
    assert row.kind is MediaKind.IMAGE


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(MediaKind))
def test_every_treatment_of_the_grid_is_scored(
    scoring: evaluation.Scorer, kind: MediaKind
) -> None:
    chosen = next(iter(items(kind)))

    rows = list(evaluation.score_items(scoring, [chosen], grid=True, total=1, log=lambda _: None))

    assert [r.treatment for r in rows] == [AS_IS, *treatments_for(kind)]
    for row in rows:
        assert row.problem == ""
        assert row.score is not None
        assert 0 <= row.score <= 1
        assert row.kind is kind
        assert row.features


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_writes_everything_and_its_scores_give_the_same_tables_again(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    real, fake = folders
    first, again = tmp_path / "first", tmp_path / "again"

    code = evaluate("--real", real, "--fake", fake, "--report", first, "--draws", 20)

    assert code == 0
    printed = capsys.readouterr().out
    assert "Not scored: 1" in printed
    assert {p.name for p in first.iterdir()} == {
        "report.html",
        "report.json",
        "scores.csv",
        *(f"image-{n}.png" for n in ("roc", "det", "reliability", "scores")),
    }
    assert "broken &lt;i&gt;.png" in (first / "report.html").read_text()
    with (first / "scores.csv").open(newline="") as file:
        scored = {r["path"]: r["score"] for r in csv.DictReader(file)}
    assert len(scored) == 5
    assert scored["fake/broken <i>.png"] == ""

    words = ("--scores", first / "scores.csv", "--report", again, "--draws", 20)
    assert evaluate(*words) == 0
    one, two = (json.loads((at / "report.json").read_text()) for at in (first, again))
    assert one["kinds"] == two["kinds"]
    assert one["data"]["not_scored"] == two["data"]["not_scored"]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Scores of 24 files, half of them fake; every other real one raises an alarm."""
    file = tmp_path / "scores.csv"
    rng = np.random.default_rng(0)
    with RowWriter(file) as writer:
        for i in range(24):
            fake = i >= 12
            score = 0.9 if fake or i % 2 else 0.1
            writer.write(scored_row(i, fake=fake, score=score, rng=rng))
    return file


def scored_row(i: int, *, fake: bool, score: float, rng: np.random.Generator) -> Row:
    return Row(
        item=item(Path(f"{i}.wav"), fake=fake),
        kind=MediaKind.AUDIO,
        score=score,
        features={"duration_s": float(rng.uniform(1, 9))},
    )


def test_a_broken_gate_makes_the_exit_status_1(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = tmp_path / "gates.json"
    gates.write_text('{"max_false_alarms": 0.1}')

    assert evaluate("--scores", scores, "--draws", 20, "--gate", gates) == 1
    assert capsys.readouterr().err == (
        "Gate broken: audio: false alarms of s is 0.5000, more than 0.1\n"
    )
    assert evaluate("--scores", scores, "--draws", 20, "--max-false-alarms", "0.5") == 0


def test_the_threshold_moves_alarms(scores: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"

    for threshold, alarms in (("0.5", 0.5), ("0.05", 1.0), ("0.95", 0.0)):
        assert evaluate("--scores", scores, "--json", out, "--threshold", threshold) == 0
        found = json.loads(out.read_text())["kinds"]["audio"]["all"]
        assert found["false_alarm_rate"]["value"] == alarms


def test_json_can_take_the_place_of_the_tables(
    scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("--scores", scores, "--draws", 20, "--json", "-", "--max-baseline-auc", "1")

    document = json.loads(capsys.readouterr().out)
    assert document["kinds"]["audio"]["baseline"]["auc"]["value"] is not None
    assert document["broken_gates"] == []


def test_a_page_lies_where_it_was_asked_for_with_its_plots(scores: Path, tmp_path: Path) -> None:
    evaluate("--scores", scores, "--draws", 20, "--html", tmp_path / "page.html")

    assert {p.name for p in tmp_path.iterdir() if p.name.startswith("page")} == {
        "page.html",
        *(f"page-audio-{n}.png" for n in ("roc", "det", "reliability", "scores")),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], r"Say what to measure, once!\nUse --real", id="nothing"),
        pytest.param(["--real", "a"], r"Give both --real DIR and --fake DIR", id="one folder"),
        pytest.param(
            ["--scores", "a", "--manifest", "b"], r"Say what to measure, once", id="twice"
        ),
        pytest.param(["--scores", "a", "--grid"], r"--scores scores nothing again", id="grid"),
        pytest.param(["--scores", "a", "--split", "test"], r"--split needs", id="split"),
        pytest.param(["--scores", "a", "--draws", "-1"], r"--draws -1", id="draws"),
        pytest.param(["--scores", "absent.csv"], r"Cannot read absent\.csv", id="absent scores"),
        pytest.param(
            ["--scores", "a", "--html", "/proc/no/page.html"], r"Cannot write", id="no folder"
        ),
        pytest.param(["--scores", "a", "--report", "/dev/null/x"], r"Cannot make", id="report"),
        pytest.param(["--manifest", "absent.csv"], r"Cannot read the manifest", id="manifest"),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_to_do(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(*words)


@pytest.mark.slow
def test_nothing_scored_is_an_error_that_names_the_reasons(tmp_path: Path) -> None:
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").write_bytes(b"")

    with pytest.raises(
        UsageError, match=r"None of 2 files could be scored!\n  real/x\.wav: .*empty"
    ):
        evaluate("--real", tmp_path / "real", "--fake", tmp_path / "fake")
