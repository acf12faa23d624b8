"""Photograph the dashboards: ``python -m tools.preview FOLDER [--scene day] [--theme dark] …``.

Needs prometheus, promtool, node with npm, and chromium on the PATH. The first run installs what
``package.json`` names. ``--keep`` writes the picture that the documentation shows.
"""

import argparse
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from PIL import Image

from detection_testing.monitoring.prometheus import Prometheus, knowing
from detection_testing.monitoring.queues import Story
from detection_testing.monitoring.scenes import DAY, HOURS_S, many, told

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
BOARDS: Final = ROOT / "charts" / "detection-queue" / "files" / "dashboards"
PICTURE: Final = ROOT / "docs" / "images" / "fleet.png"
STEP_S: Final = 60
CELL, HEAD = 38, 60
"""Pixels of a unit of the grid, and of what is above it: as ``page.tsx`` has them."""
SCENES: Final[dict[str, Callable[[], Sequence[Story]]]] = {
    "day": lambda: DAY,
    "empty": lambda: (),
    "one": lambda: DAY[:1],
    "many": lambda: many(50),
    "clusters": lambda: [*many(6, "eu"), *many(6, "us")],
}
ESBUILD: Final = (
    "--bundle", "--loader:.svg=dataurl", "--loader:.ttf=dataurl", "--log-level=error",
    '--define:process.env.NODE_ENV="production"', "--minify",
    "--alias:@grafana/ui=./node_modules/@grafana/ui/dist/cjs/index.cjs",
    "--alias:@grafana/data=./node_modules/@grafana/data/dist/cjs/index.cjs",
)  # fmt: skip
# The ES modules of Grafana are .mjs: to them esbuild gives CommonJS packages as Node.js does, and
# what should be a component is an object.


def answers(
    prometheus: Prometheus, board: dict[str, Any], choices: dict[str, str], end_s: int
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return what Prometheus says to each query of each panel, by panel and query."""
    values = {
        **choices,
        "__rate_interval": f"{4 * STEP_S}s",
        "__range": f"{HOURS_S:.0f}s",
        "__interval": f"{STEP_S}s",
    }
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for panel in (each for each in board["panels"] if each["type"] != "row"):
        said = found[str(panel["id"])] = {}
        for target in panel["targets"]:
            expr = re.sub(r"\$(\w+)", lambda name: values.get(name[1], name[0]), target["expr"])
            said[target["refId"]] = (
                prometheus.instant(expr, end_s)
                if target.get("instant")
                else prometheus.drawn(expr, end_s - HOURS_S, end_s, STEP_S)
            )
    return found


def photograph(page: Path, picture: Path, width: int, height: int) -> None:
    """Let headless Chromium draw a page into a PNG.

    Raises:
        CalledProcessError: It does not start.
        SystemExit: The script of the page fails.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    patience = ["--virtual-time-budget=15000", "--allow-file-access-from-files"]
    command = [*options, *patience, f"--window-size={width},{height}", f"--screenshot={picture}"]
    command = [chromium, *command, "--enable-logging=stderr", page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if failed := [line for line in done.stderr.splitlines() if "Uncaught" in line]:
        raise SystemExit(f"{page.name} fails in the browser: {failed[0]}")


def show(shown: dict[str, Any], script: Path, picture: Path, width: int) -> None:
    """Photograph one board.

    Args:
        shown: What the page reads: board, answers, theme, times, choices.
        script: The bundled ``page.tsx``; its styles lie beside it.
        picture: The PNG to write.
        width: Pixels of the window.
    """
    rows = [panel["gridPos"] for panel in shown["board"]["panels"]]
    height = HEAD + CELL * max(grid.get("y", 0) + grid["h"] for grid in rows)
    page = script.with_name("page.html")
    data = json.dumps(shown).replace("</", "<\\/")
    page.write_text(
        '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css">'
        f'<body style="margin:0"><div id="board"></div><script>window.SHOWN={data}</script>'
        '<script src="page.js"></script>'
    )
    photograph(page, picture, width, height)


def shrink(picture: Path) -> None:
    """Reduce a picture to a palette: a page of widgets has few colours."""
    with Image.open(picture) as image:
        found = image.convert("RGB").quantize(
            256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE
        )
    found.save(picture, optimize=True)


def bundle(folder: Path) -> Path:
    """Return the bundled script of the page, which is installed first if it is not."""
    if not (HERE / "node_modules").exists():
        npm = ["npm", "install", "--no-audit", "--no-fund", "--legacy-peer-deps"]
        subprocess.run([*npm, "--no-package-lock"], cwd=HERE, check=True)
    script = folder / "page.js"
    command = [str(HERE / "node_modules/.bin/esbuild"), str(HERE / "page.tsx"), *ESBUILD]
    subprocess.run([*command, f"--outfile={script}"], cwd=HERE, check=True)
    return script


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/dashboards"))
    parser.add_argument("--scene", choices=SCENES, default="day")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--board", choices=("fleet", "queue", "workers"), action="append")
    parser.add_argument("--queue", default="All", help="queue that is chosen")
    parser.add_argument("--keep", action="store_true", help="write the picture of the docs")
    return parser.parse_args()


def main() -> None:
    """Photograph the boards that the command line names."""
    asked = arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    end_s = int(time.time()) // STEP_S * STEP_S
    every = {"cluster": ".*", "namespace": ".*", "queue": ".*"}
    chosen = {**every, "queue": asked.queue} if asked.queue != "All" else every
    with TemporaryDirectory() as made:
        folder = Path(made)
        script = bundle(folder)
        history = told(SCENES[asked.scene](), end_s)
        with knowing(history, folder) as prometheus:
            for name in asked.board or ("fleet", "queue", "workers"):
                board = json.loads((BOARDS / f"{name}.json").read_text())
                shown = {
                    "board": board, "theme": asked.theme, "start": end_s - HOURS_S, "end": end_s,
                    "step": STEP_S,
                    "choices": {"cluster": "All", "namespace": "All", "queue": asked.queue},
                    "answers": answers(prometheus, board, chosen, end_s),
                }  # fmt: skip
                picture = asked.folder / f"{name}-{asked.scene}-{asked.theme}-{asked.width}.png"
                show(shown, script, picture, asked.width)
                print(picture)
                if asked.keep and name == "fleet":
                    shutil.copy(picture, PICTURE)
                    shrink(PICTURE)


if __name__ == "__main__":
    main()
