import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_operator.cli.main import main
from detection_operator.scaling.estimates.profile import RING, SLOT_S, level, packed

RECORDS_2 = Path(__file__).parents[1] / "scaling" / "records-version-2.jsonl"


def write(path: Path, rows: int = 60) -> Path:
    path.write_text("\n".join(str(10 * n) for n in range(rows)))
    return path


@pytest.mark.slow
def test_a_trace_is_simulated_recorded_and_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, log, png = write(tmp_path / "t.csv"), tmp_path / "log.jsonl", tmp_path / "p.png"

    code = main(["simulate", "--trace", str(trace), "--record", str(log), "--png", str(png)])
    table = capsys.readouterr().out
    replayed = main(["replay", str(log)])

    assert (code, replayed) == (0, 0)
    for policy in ("ours", "backlog", "keda", "oracle"):
        assert policy in table
    assert png.read_bytes().startswith(b"\x89PNG")
    count = len(log.read_text().splitlines())
    assert capsys.readouterr().out == f"{count} decisions replayed, 0 differ\n"


def test_a_changed_decision_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, log = write(tmp_path / "t.csv", 5), tmp_path / "log.jsonl"
    main(["simulate", "--trace", str(trace), "--policy", "ours", "--record", str(log)])
    lines = log.read_text().splitlines()
    forged = json.loads(lines[3])
    forged["plan"]["desired"] += 1
    lines[3] = json.dumps(forged)
    log.write_text("\n".join(lines))
    capsys.readouterr()

    assert main(["replay", str(log)]) == 1

    out = capsys.readouterr().out
    assert "line 4: desired was" in out
    assert "1 differs" in out


def test_replay_shows_where_plans_of_older_rules_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = len(RECORDS_2.read_text().splitlines())

    code = main(["replay", str(RECORDS_2)])

    out = capsys.readouterr().out
    assert (code, out.splitlines()[-1]) == (1, f"{count} decisions replayed, {count} differ")
    assert "line 11: terms was [{'rule': 'Steady', 'replicas': 3}" in out


def test_explain_reads_records_and_statuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, log = write(tmp_path / "t.csv", 40), tmp_path / "log.jsonl"
    main(["simulate", "--trace", str(trace), "--policy", "ours", "--record", str(log)])
    status = tmp_path / "dq.yaml"
    status.write_text(
        yaml.safe_dump(
            {
                "status": {
                    "desiredReplicas": 9,
                    "plan": {
                        "binding": "Capacity",
                        "message": "12 needed; capped to 9",
                        "terms": [{"name": "Drain", "replicas": 12}],
                    },
                    "conditions": [
                        {"type": "CapacityAvailable", "status": "False", "message": "no room"},
                        {"type": "Ready", "status": "True"},
                        {
                            "type": "CapacityAvailable",
                            "status": "True",
                            "reason": "Waiting",
                            "message": "3 pods wait for a node",
                        },
                    ],
                }
            }
        )
    )
    capsys.readouterr()

    assert main(["explain", str(log)]) == 0
    assert "replicas, because of" in capsys.readouterr().out
    assert main(["explain", str(status)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "9 replicas, because of Capacity",
        "12 needed; capped to 9",
        "  Drain           12",
        "CapacityAvailable=False: no room",
        "CapacityAvailable=True: 3 pods wait for a node",
    ]


def test_explain_draws_the_messages_of_the_last_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noon_s = 1_767_268_800
    levels = bytearray(RING)
    for slot in range(12):
        levels[(noon_s // SLOT_S - 36 + slot) % RING] = level(100.0)
    status: dict[str, Any] = {
        "plan": {"binding": "Empty", "message": "nothing to do", "terms": []},
        "queue": {"sampledAt": "2026-01-01T12:00:00Z"},
        "forecast": {"yesterdayPercent": 80, "profile": packed(bytes(levels))},
    }
    file = tmp_path / "dq.yaml"

    def last_line() -> str:
        file.write_text(yaml.safe_dump({"status": status}))
        assert main(["explain", str(file)]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    bars, text = last_line().split(" ", 1)
    assert bars == "▁" * 21 + "█" + "▁" * 2
    assert text.startswith("messages an hour from 2025-12-31T12:00:00Z, at most 1172;")
    assert text.endswith("; agrees with the day before 80 %")
    status["queue"] = {}
    assert last_line() == "nothing to do"
    status["queue"], status["forecast"] = {"sampledAt": "2026-01-01T12:00:00Z"}, {"profile": "x"}
    assert last_line() == "nothing to do"


def test_a_manifest_sets_the_simulated_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "dq.yaml"
    spec = {
        "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
        "slo": {"queueWaitSeconds": 77},
        "worker": {"deploymentRef": {"name": "w"}},
    }
    manifest.write_text(yaml.safe_dump({"spec": spec}))

    code = main(["simulate", "--generate", "phantom", "--policy", "ours", "--spec", str(manifest)])

    assert code == 0
    assert "objective 77 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "command", "why"),
    [
        pytest.param(None, "replay", "No such file", id="replay of nothing"),
        pytest.param("", "replay", "no records", id="an empty log"),
        pytest.param("{}\n", "replay", "line 1: no decision record", id="no record"),
        pytest.param("x\n", "replay", "line 1: no JSON", id="no JSON"),
        pytest.param('{"version": 2}\n', "replay", "missing or wrong", id="half a record"),
        pytest.param(
            '{"version": 1}\n', "replay", "use the release that wrote it", id="an old record"
        ),
        pytest.param(
            '{"version": 2, "spec": {}}\n', "replay", "queue: is required", id="a wrong spec"
        ),
        pytest.param("[1]", "explain", "holds no object", id="a list"),
        pytest.param("a: [", "explain", "no YAML or JSON", id="broken YAML"),
        pytest.param("a: 1", "explain", "neither a decision record", id="something else"),
        pytest.param(None, "explain", "No such file", id="explain nothing"),
        pytest.param("soon\nlater\n", "simulate --trace", "is no time", id="a broken trace"),
        pytest.param(
            "spec: 1", "simulate --generate phantom --spec", "must be an object", id="no spec"
        ),
        pytest.param(
            "a: 1", "simulate --generate phantom --spec", "no manifest", id="no manifest"
        ),
    ],
)
def test_a_wrong_file_is_a_sentence_and_no_traceback(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    command: str,
    why: str,
) -> None:
    path = tmp_path / "file"
    if text is not None:
        path.write_text(text)

    code = main([*command.split(), str(path)])

    assert code == 2
    err = capsys.readouterr().err
    assert err.startswith("detection-operator: ")
    assert why in err


def test_a_picture_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "none" / "p.png")

    code = main(["simulate", "--generate", "phantom", "--policy", "ours", "--png", nowhere])

    assert code == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.slow
def test_the_core_loads_no_heavy_library() -> None:
    check = (
        "import sys, importlib, pkgutil, detection_operator as package\n"
        "for item in pkgutil.walk_packages(package.__path__, 'detection_operator.'):\n"
        "    if not item.name.endswith('__main__'): importlib.import_module(item.name)\n"
        "heavy = ('torch', 'numpy', 'matplotlib', 'detection_worker')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=150
    )

    assert done.stdout.strip() == "[]"


def test_the_operator_s_plain_log_names_what_it_tells_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("detection_operator.cli.run.configure", asked.update)
    monkeypatch.setenv("LOG_FORMAT", "plain")

    code = main(["run", "--decisions", str(tmp_path / "none" / "d.jsonl")])

    assert code != 0
    assert (asked["fmt"], asked["facts"]) == ("plain", True)


@pytest.mark.slow
def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m detection_operator crd | head -1"

    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, timeout=150
    )

    assert done.stdout.startswith("apiVersion")
    assert done.stderr == ""
