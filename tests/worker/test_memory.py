"""Memory at rest: the collector spares what is there, and the code of libraries is given back."""

import ctypes
import gc
from pathlib import Path

import numpy as np
import pytest

from detection_worker import memory
from detection_worker.memory import at_work, give_back, uncollected


def _resident_code_kib(library: str) -> int:
    """Return how much of a library's code is in the memory of this process."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            inside = rest.startswith("r-xp") and library in rest
        elif inside and name == "Rss:":
            found += int(rest.split()[0])
    return found


def test_the_collector_looks_only_at_what_comes_later() -> None:
    early = [object() for _ in range(3)]

    with at_work():
        late: list[object] = []
        assert gc.get_freeze_count() > 1000
        assert not any(each is early for each in gc.get_objects())
        assert any(each is late for each in gc.get_objects())

    assert gc.get_freeze_count() == 0
    assert any(each is early for each in gc.get_objects())


def test_code_that_only_the_start_needed_is_given_back_and_comes_again() -> None:
    square = np.arange(9.0).reshape(3, 3)
    product = square @ square
    before_kib = _resident_code_kib("openblas")

    give_back()
    after_kib = _resident_code_kib("openblas")

    assert 0 <= after_kib < before_kib
    assert (square @ square == product).all()
    assert _resident_code_kib("openblas") > after_kib


def test_what_was_written_into_a_library_stays() -> None:
    """Relocated pages are of this process alone: the file does not have them."""
    address = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value

    give_back()

    assert ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value == address
    assert ctypes.CDLL(None).strlen(b"four") == 4


def test_on_another_system_nothing_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    np.ones((3, 3)) @ np.ones((3, 3))
    before_kib = _resident_code_kib("openblas")

    give_back()

    assert _resident_code_kib("openblas") >= before_kib > 0


def test_where_mappings_are_not_shown_nothing_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_SMAPS", tmp_path / "absent")
    np.ones((3, 3)) @ np.ones((3, 3))
    before_kib = _resident_code_kib("openblas")

    give_back()

    assert _resident_code_kib("openblas") >= before_kib > 0


@pytest.mark.parametrize("was_on", [True, False])
def test_collection_is_held_and_then_as_before(*, was_on: bool) -> None:
    held: list[bool] = []

    @uncollected()
    def load() -> None:
        held.append(gc.isenabled())

    try:
        if not was_on:
            gc.disable()
        load()
        after = gc.isenabled()
    finally:
        gc.enable()

    assert (held, after) == ([False], was_on)
