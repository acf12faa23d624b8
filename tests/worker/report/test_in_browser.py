"""Pages in a real browser: on a phone, in the dark and printed, without a request or complaint."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from detection_testing.samples import sample_path
from detection_worker.api import EnhancedDeepfakePredictor
from detection_worker.report.page import list_page, result_page, row_of

PHONE_PX, DESK_PX = 360, 1280
SHOWN = ("cat-reconstructed.png", "dandelion-pan-reconstructed.mkv", "reading-vocoded.mp3")
KEPT = os.environ.get("REPORT_SCREENSHOTS")
"""Folder in which screenshots are kept; without it they go with the test's folder."""
HOSTILE = "<img src=https://example.com/x onerror=alert(1)>\u202e" + "W" * 300

CHECK = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']})"

pytestmark = pytest.mark.slow


def _browser() -> Any:
    path = Path(__file__).with_name("browser.py")
    spec = importlib.util.spec_from_file_location("report_browser", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of real results of the bundled models, and of results that are none."""
    folder = tmp_path_factory.mktemp("pages")
    made: dict[str, str] = {}
    results = []
    with EnhancedDeepfakePredictor(device="cpu") as predictor:
        for name in SHOWN:
            result, page = predictor.report(sample_path(name))
            made[str(result["file_type"])] = page
            results.append(result)
    failed = {"request_id": "r", "file_path": HOSTILE, "status": "failed", "label": None}
    failed["error"] = {"code": "undecodable", "message": HOSTILE}  # type: ignore[assignment]
    made["failed"] = result_page(failed)
    hostile: Any = {**results[0], "file_path": HOSTILE, "model": {"name": HOSTILE}}
    hostile["provenance"] = {
        "declares": "ai_generated",
        "evidence": [{"source": "xmp", "field": HOSTILE, "value": HOSTILE}] * 3,
    }
    made["hostile"] = result_page(hostile)
    rows = [row_of(r, folder="files", page="1.html", icon=None) for r in (*results, hostile)]
    made["list"] = list_page(rows)
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    module = _browser()
    program = module.chromium()
    if program is None:
        pytest.skip("NOT RUN: there is no chromium; the same pages are read by a parser")
    with module.browser(program) as opened:
        yield opened


@pytest.fixture(scope="module")
def axe() -> str:
    folder = Path(str(axe_core_python.__file__)).parent
    return folder.joinpath("axe.min.js").read_text(encoding="utf-8")


def test_every_kind_of_page_is_looked_at(pages: dict[str, Path]) -> None:
    assert set(pages) == {"image", "video", "audio", "failed", "hostile", "list"}
    assert all(page.stat().st_size < 1_500_000 for page in pages.values())


def test_pages_ask_for_nothing_complain_of_nothing_and_fit_a_phone(
    tab: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    kept = Path(KEPT) if KEPT else tmp_path
    kept.mkdir(exist_ok=True)
    tab.requests.clear()
    for name, page in pages.items():
        for width, dark in ((PHONE_PX, True), (DESK_PX, False)):
            tab.show(page, width=width, dark=dark)
            wide = tab.value("document.documentElement.scrollWidth")
            assert wide <= width, (name, width, wide)
            broken = "[...document.images].filter(i => i.naturalWidth === 0).length"
            assert tab.value(broken) == 0, name
            shot = kept / f"{name}-{width}{'-dark' if dark else ''}.png"
            tab.photograph(shot)
            assert shot.stat().st_size > 10_000
    asked = [url for url in tab.requests if not url.startswith("data:image/")]
    assert {url.partition(":")[0] for url in asked} == {"file"}
    assert {Path(url).name for url in asked} == {page.name for page in pages.values()}
    assert tab.console == []


def test_pages_pass_the_checks_of_accessibility(
    tab: Any, pages: dict[str, Path], axe: str
) -> None:
    tab.call("Page.setBypassCSP", enabled=True)  # axe comes from outside, by the debugger
    for name, page in pages.items():
        for dark in (False, True):
            tab.show(page, width=PHONE_PX if dark else DESK_PX, dark=dark)
            tab.value(axe)
            answer = tab.call(
                "Runtime.evaluate",
                expression=CHECK,
                awaitPromise=True,
                returnByValue=True,
            )
            found = answer["result"]["value"]
            told = [
                (v["id"], [n["html"][:200] for n in v["nodes"]], v["nodes"][0]["failureSummary"])
                for v in found["violations"]
            ]
            assert told == [], (name, dark)
            assert len(found["passes"]) > 5

    bad = "document.querySelector('h1').style.color = '#eee'"
    tab.show(pages["image"], width=DESK_PX)
    tab.value(f"{bad}; document.images[0].removeAttribute('alt'); {axe}")
    answer = tab.call("Runtime.evaluate", expression=CHECK, awaitPromise=True, returnByValue=True)
    assert {v["id"] for v in answer["result"]["value"]["violations"]} == {
        "color-contrast", "image-alt",
    }  # fmt: skip


def test_pages_are_printed_on_a4(tab: Any, pages: dict[str, Path]) -> None:
    for name in ("image", "failed"):
        tab.show(pages[name], width=DESK_PX, dark=True)
        assert tab.printed().startswith(b"%PDF-")
        # Printed in the dark too: black on white.
        tab.show(pages[name], width=794, dark=True, printed=True)
        style = "getComputedStyle(document.body)"
        assert tab.value(f"{style}.color") == "rgb(0, 0, 0)"
        assert tab.value(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
        assert tab.value("document.documentElement.scrollWidth") <= 794
