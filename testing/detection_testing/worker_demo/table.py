"""The live table of results."""

import textwrap
from collections.abc import Mapping
from typing import Any

from detection_contract.results import verdict_in_words
from detection_testing.worker_demo.check import Outcome
from detection_testing.worker_demo.media import Upload

ROW = "{number:>3} {file:<31} {kind:<5} {truth:<6} {verdict:<14} {score:>7} {time:>8}"
FILE_CHARS = 31
COLUMNS = 80


class Table:
    """Prints a row for each result, the heading before the first."""

    def __init__(self) -> None:
        self._begun = False
        self._grades: set[str] = set()

    def row(self, result: Mapping[str, Any], upload: Upload | None, number: int) -> None:
        """Print one result."""
        if not self._begun:
            self._begun = True
            print()
            print(
                ROW.format(
                    number="#",
                    file="file",
                    kind="type",
                    truth="truth",
                    verdict="verdict",
                    score="P(fake)",
                    time="time",
                )
            )
        model = result.get("model") or {}
        self._grades |= {f"{model['name']} ({model['grade']})"} if model else set()
        print(
            ROW.format(
                number=number,
                file=_tail(str(result["sqs_to_ml_url"])),
                kind=result["file_type"] or "?",
                truth=upload.truth if upload else "?",
                verdict=verdict_in_words(result),
                score=_number(result["prediction_score"], "{:.4f}"),
                time=f"{ms:.0f} ms" if (ms := result["timings_ms"].get("total")) else "",
            ),
            flush=True,
        )
        if error := result.get("error"):
            print(f"    {error['code']}: {error['message']}", flush=True)

    def summary(self, outcome: Outcome) -> None:
        """Print the last lines."""
        print()
        print(
            f"{len(outcome)} of {len(outcome.expected)} results in {outcome.seconds:.1f} s, "
            f"{outcome.left_in_queue} messages left in the queue, "
            f"{outcome.dead_letters} dead letter(s), {outcome.broken} broken on purpose."
        )
        if self._grades:
            print(textwrap.fill(f"Models: {', '.join(sorted(self._grades))}.", COLUMNS))
            print("inconclusive: the score lies where the model cannot tell.")
            print("real: no manipulation was found, which proves nothing.")
            print(
                "Small models, to show that the machinery works:\n"
                "never accuse anybody by their scores."
            )


def _number(value: object, form: str) -> str:
    return "" if value is None else form.format(value)


def _tail(url: str) -> str:
    return url.rsplit("/", 1)[-1][-FILE_CHARS:]
