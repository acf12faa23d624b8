"""Progress of long commands: lines where there is no terminal, and totals that are not known."""

import io
import time

import pytest

from detection_worker.cli.progress import LINES_S, Progress, progress_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, progress: dict[str, object]
) -> str:
    """Return what is shown of 300 steps, one a second."""
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    made = Progress(stream=stream, **progress)  # type: ignore[arg-type]
    for done in range(1, 301):
        now_s[0] += 1.0
        made.show(done)
    return stream.getvalue()


def test_away_from_a_terminal_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, object] = {"total": 600, "unit": "messages", "lines": True}
    lines = shown(monkeypatch, io.StringIO(), options).splitlines()

    assert len(lines) == 300 // LINES_S
    assert lines[0] == "15 of 600 messages, 1.0 messages/s, 9:45 left"


def test_what_an_earlier_run_did_does_not_count_for_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    stream = Terminal()
    progress = Progress(1000, stream=stream, unit="messages", done_before=500)
    now_s[0] += 10
    progress.show(600)

    assert stream.getvalue().strip() == "600 of 1000 messages, 10.0 messages/s, 0:40 left"


def test_without_a_total_there_is_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal(), {"total": None, "unit": "objects"})

    assert text.rstrip().endswith("300 objects, 1.0 objects/s")
    assert " left" not in text
    assert progress_text(3, None, None, unit="objects") == "3 objects"
