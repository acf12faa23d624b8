"""Tables, text, page, plots and gates, from rows that nobody needed to score."""

import io
import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection_contract.media_types import MediaKind
from detection_training.cli.evaluate import GATE_HELP
from detection_training.evaluation.gates import Gates, broken, read_gates
from detection_training.evaluation.items import Item
from detection_training.evaluation.page import page
from detection_training.evaluation.plots import draw
from detection_training.evaluation.rows import AS_IS, Model, Row
from detection_training.evaluation.tables import Report, Settings, precision_at, report
from detection_training.evaluation.text import as_json, as_text, remarks
from detection_worker.errors import UsageError

MODEL = Model(name="model", version="1.0.0", sha256="ab" * 32, grade="demo")
QUICK = Settings(draws=50)


def row(
    name: str,
    score: float | None,
    *,
    family: str = "",
    source: str = "",
    seen: bool | None = None,
    treatment: str = AS_IS,
    seconds: float = 1.0,
) -> Row:
    return Row(
        item=Item(
            path=Path(name),
            name=name,
            fake=bool(family),
            family=family or "real",
            source=source or "fake",
            group=name,
            seen=seen,
        ),
        treatment=treatment,
        kind=MediaKind.AUDIO,
        score=score,
        problem="" if score is not None else "it is broken",
        features={"duration_s": seconds},
        model=MODEL,
    )


def rows() -> list[Row]:
    """Ten real files of two sources, ten fakes of a seen and ten of an unseen engine.

    By hand: the unseen engine's ROC goes from FPR 0.4, TPR 0.8 to 0.2, 0.7 and meets the diagonal
    at 4/15. The bins' distances of score and share times their files sum to 6.6 of 30: ECE 0.22.
    """
    quiet = [row(f"q{i}", 0.1, source="quiet") for i in range(6)]
    loud = [row(f"l{i}", 0.9 if i < 2 else 0.2, source="loud") for i in range(4)]
    known = [row(f"k{i}", 0.95, family="known", seen=True, seconds=9) for i in range(10)]
    new = [row(f"n{i}", i / 10, family="new", seen=False, seconds=9) for i in range(10)]
    return [*quiet, *loud, *known, *new]


def made(found: list[Row], settings: Settings = QUICK) -> Report:
    return report(found, settings, origin="a test", grouped=True)


def test_false_alarms_are_told_by_source() -> None:
    (kind,) = made(rows()).kinds

    found = {s.name: (s.real, s.measures["false_alarm_rate"].value) for s in kind.sources}
    assert found == {"loud": (4, 0.5), "quiet": (6, 0.0)}


def test_each_family_is_held_against_all_real_files() -> None:
    (kind,) = made(rows()).kinds

    found = {s.name: (s.seen, s.real, s.fake, s.measures["auc"].value) for s in kind.families}
    # 100 pairs: 0.1 is beaten by 8 scores and tied once, 0.2 by 7 and tied once, 0.9 tied once.
    new = (6 * 8.5 + 2 * 7.5 + 2 * 0.5) / 100
    assert found == {
        "known": (True, 10, 10, 1.0),
        "new": (False, 10, 10, pytest.approx(new)),
    }
    assert [s.name for s in kind.known] == ["seen in training", "never seen"]


def test_treated_copies_count_in_the_grid_alone() -> None:
    treated = [replace(r, treatment="8 kHz", score=0.5) for r in rows()]

    (kind,) = made([r for pair in zip(rows(), treated, strict=True) for r in pair]).kinds

    assert [(s.name, s.measures["auc"].value) for s in kind.grid][1] == ("8 kHz", 0.5)
    assert (kind.whole.real, kind.whole.fake) == (10, 20)
    assert made(rows()).kinds[0].grid == ()


def test_files_without_a_score_are_listed_and_counted_nowhere_else() -> None:
    failed = row("bad", None, family="new")

    found = made([*rows(), failed, replace(failed, treatment="8 kHz")])

    assert found.not_scored == (("bad", "it is broken"), ("bad (8 kHz)", "it is broken"))
    assert found.kinds[0].whole.fake == 20


def test_one_class_gives_nulls_and_no_crash() -> None:
    found = made([r for r in rows() if r.item.fake], replace(QUICK, with_baseline=True))

    whole = found.kinds[0].whole.measures
    assert (whole["auc"].value, whole["auc"].reason) == (None, "no real files")
    assert whole["detection_rate"].value == pytest.approx(0.75)
    assert found.kinds[0].precision == ()
    json.dumps(as_json(found), allow_nan=False)
    assert "no real files" in as_text(found)
    assert list(draw(found.kinds[0])) == ["audio-scores.png"]


@pytest.mark.parametrize(
    ("prevalence", "detection", "false_alarms", "expected"),
    [
        pytest.param(0.01, 0.7, 0.05, 0.124, id="the example of the page"),
        pytest.param(0.5, 0.7, 0.7, 0.5, id="a coin"),
        pytest.param(0.01, 0.7, 0.0, 1.0, id="no false alarms"),
        pytest.param(0.01, 0.0, 0.0, None, id="no alarms"),
    ],
)
def test_precision_follows_from_the_prevalence(
    prevalence: float, detection: float, false_alarms: float, expected: float | None
) -> None:
    found = precision_at(prevalence, detection=detection, false_alarms=false_alarms)

    assert found == (expected if expected is None else pytest.approx(expected, abs=5e-4))


def test_the_json_is_strict_and_says_how_numbers_were_made() -> None:
    document = json.loads(json.dumps(as_json(made(rows())), allow_nan=False))

    assert document["settings"] == {"threshold": 0.5, "interval": 0.95, "draws": 50, "seed": 20240}
    audio = document["kinds"]["audio"]
    assert audio["models"][0]["sha256"] == "ab" * 32
    assert audio["all"]["tpr_at_fpr_1pct"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "needs 100 real files, has 10",
    }
    assert audio["families"][0]["detection_rate"]["value"] == 1.0


def test_the_text_warns_of_what_a_reader_must_know() -> None:
    settings = replace(QUICK, with_baseline=True)
    beside = replace(row("small", None, family="new"), problem="not applicable: too_small")
    found = report([*rows(), beside], settings, origin="a test", grouped=False)

    warnings = "\n".join(remarks(found))
    assert "1 of the files without a score can be read, but" in warnings
    assert "every file counts as independent" in warnings
    assert "Demonstration models, not for decisions: model." in warnings
    assert "Trivial features tell real from fake (audio: AUC 1.000" in warnings
    assert "12 % of its alarms" in as_text(found)


class Checker(HTMLParser):
    """Collects tags, and refuses a page whose tags do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere_and_escapes_every_name() -> None:
    evil = '<script>alert("1")</script>&\'\udcff'
    bad = [row(f"b{evil}", None, family="x"), row("y", 0.9, family=evil, source=evil)]
    odd = [replace(r, model=replace(MODEL, name=evil)) for r in rows()]
    found = report([*odd, *bad], QUICK, origin=evil, grouped=False)
    pictures = {str(kind.kind): draw(kind) for kind in found.kinds}

    text = page(found, pictures, made="today", broken=[f"EER of {evil}"])

    text.encode("utf-8")
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    tags = [tag for tag, _ in checker.seen]
    assert "script" not in tags
    assert "link" not in tags
    images = [attributes for tag, attributes in checker.seen if tag == "img"]
    assert len(images) == 4
    for attributes in images:
        assert str(attributes["src"]).startswith("data:image/png;base64,")
        assert attributes["alt"]
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "Gate broken: EER of &lt;script&gt;" in text
    assert text.count("&lt;script&gt;") >= 5
    targets = {a["href"] for tag, a in checker.seen if tag == "a"}
    assert targets <= {f"#{a['id']}" for _, a in checker.seen if "id" in a}


def test_the_page_lists_misjudged_files_worst_first_with_their_pictures() -> None:
    missed = replace(row("<b>missed", 0.2, family="new"), icon=b"a picture")
    worst = row("worst", 0.01, family="new")
    alarm = row("alarm", 0.95)
    found = report([*rows(), missed, worst, alarm], QUICK, origin="a test", grouped=False)
    [kind] = found.kinds

    names = [r.item.name for r in kind.misjudged]
    assert names.index("worst") < names.index("alarm") < names.index("<b>missed")
    assert all(r.misjudged(0.5) for r in kind.misjudged)
    text = page(found, {}, made="today")
    assert "&lt;b&gt;missed" in text
    assert text.count('src="data:image/jpeg;base64,YSBwaWN0dXJl"') == 1
    assert "In truth fake: new" in text
    assert f"{len(names)} files have the wrong label" in text


def test_the_plots_are_pictures_and_the_same_every_time() -> None:
    (kind,) = made(rows()).kinds

    drawn = draw(kind)

    assert list(drawn) == [f"audio-{n}.png" for n in ("roc", "det", "reliability", "scores")]
    for data in drawn.values():
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 300
            assert len(np.unique(np.asarray(picture))) > 10
    assert draw(kind) == drawn


@pytest.mark.parametrize(
    ("gates", "lines"),
    [
        pytest.param(Gates(), [], id="none"),
        pytest.param(
            Gates(max_false_alarms=0.5, max_eer=0.2, min_auc=0.5, max_ece=0.9), [], id="kept"
        ),
        pytest.param(
            Gates(max_false_alarms=0.1),
            ["audio: false alarms of loud is 0.5000, more than 0.1"],
            id="one source",
        ),
        pytest.param(
            Gates(max_eer=0.0, max_unseen_eer=0.1),
            ["audio: EER of unseen families is 0.2667, more than 0.1"],
            id="unseen engine",
        ),
        pytest.param(
            Gates(min_detection=0.9),
            ["audio: detection of new is 0.5000, less than 0.9"],
            id="one family",
        ),
        pytest.param(
            Gates(max_baseline_auc=0.6),
            ["audio: AUC of trivial features is 1.0000, more than 0.6"],
            id="a leak",
        ),
        pytest.param(
            Gates(max_not_scored=0.01),
            ["not scored is 0.0323, more than 0.01"],
            id="unreadable",
        ),
        pytest.param(
            Gates(min_auc=1.0), ["audio: AUC is 0.8350, less than 1"], id="area under the curve"
        ),
        pytest.param(
            Gates(max_ece=0.01), ["audio: ECE is 0.2200, more than 0.01"], id="calibration"
        ),
    ],
)
def test_a_broken_gate_is_named_with_value_and_limit(gates: Gates, lines: list[str]) -> None:
    found = made([*rows(), row("bad", None, family="new")], replace(QUICK, with_baseline=True))

    assert broken(gates, found) == lines


def test_a_gate_on_what_was_not_measured_is_broken() -> None:
    fakes = made([r for r in rows() if r.item.family == "known"])
    gates = Gates(max_false_alarms=1, max_eer=1, max_unseen_eer=1, max_baseline_auc=1)

    lines = broken(gates, fakes)

    assert [line.partition(" could not be measured: ")[2] for line in lines] == [
        "no real files",
        "no real files",
        "no family is marked unseen",
        "not fitted",
    ]
    assert broken(Gates(), made([row("bad", None, family="x")])) == ["nothing was scored"]


def test_gates_come_from_a_file_and_options_win(tmp_path: Path) -> None:
    file = tmp_path / "gates.json"
    file.write_text('{"max_eer": 0.15, "min_auc": 1}')

    found = read_gates(file, over=Gates(max_eer=0.2, max_ece=0.1))

    assert found == Gates(max_eer=0.2, max_ece=0.1, min_auc=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"max_err": 0.1}', r"no such gate: 'max_err'\nKnown: .*max_eer", id="name"),
        pytest.param('{"max_eer": 15}', r"max_eer: 15\nGive a number from 0 to 1", id="per cent"),
        pytest.param('{"max_eer": true}', r"max_eer: True", id="boolean"),
        pytest.param('{"max_eer": NaN}', r"max_eer: nan", id="not a number"),
        pytest.param("[]", r"no JSON object", id="list"),
        pytest.param("{", r"Cannot read the gates", id="broken"),
    ],
)
def test_gates_with_a_mistake_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gates.json").write_text(text)

    with pytest.raises(UsageError, match=message):
        read_gates(tmp_path / "gates.json", over=Gates())


def test_every_gate_has_an_option() -> None:
    assert set(GATE_HELP) == {field.name for field in fields(Gates)}
