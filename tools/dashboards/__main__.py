"""Write the dashboards of the chart: ``python -m tools.dashboards [--check]``."""

import argparse
from pathlib import Path

from tools.dashboards.fleet import fleet
from tools.dashboards.queue_board import queue
from tools.dashboards.workers import board_workers

FOLDER = Path(__file__).parents[2] / "charts" / "detection-queue" / "files" / "dashboards"


def main() -> None:
    """Write every board, or exit with 1 when a file differs from what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    check = parser.parse_args().check
    boards = {"fleet": fleet(), "queue": queue(), "workers": board_workers()}
    texts = {FOLDER / f"{name}.json": text for name, text in boards.items()}
    changed = [
        path for path, text in texts.items() if not path.exists() or path.read_text() != text
    ]
    if check and changed:
        names = ", ".join(path.name for path in changed)
        raise SystemExit(f"{names}: run `python -m tools.dashboards`")
    for path in changed:
        path.write_text(texts[path])
        print(path)


if __name__ == "__main__":
    main()
