"""The live table of results."""

import textwrap
from collections.abc import Mapping
from typing import Any

from detection_contract.results import verdict_in_words
from detection_testing.worker_demo.check import Outcome
from detection_testing.worker_demo.media import Upload

ROW = "{number:>3} {file:<29} {truth:<6} {verdict:<14} {score:>7} {time:>7} {way:<8}"
FILE_CHARS = 29
COLUMNS = 80
LONG_MS = 9999.5
"""Told in seconds: the column is too narrow for another digit."""


class Table:
    """Prints a row for each result, the heading before the first."""

    def __init__(self) -> None:
        self._rows = 0
        self._grades: set[str] = set()

    def row(self, result: Mapping[str, Any], upload: Upload | None, way: str) -> None:
        """Print one result.

        Args:
            result: The envelope.
            upload: The file.
            way: How it arrived: ``topic``, ``queue``, ``callback``, or ``outbox`` for a late one.
        """
        if not self._rows:
            print()
            print(
                ROW.format(
                    number="#",
                    file="file",
                    truth="truth",
                    verdict="verdict",
                    score="P(fake)",
                    time="time",
                    way="came by",
                ).rstrip()
            )
        self._rows += 1
        model = result.get("model") or {}
        self._grades |= {f"{model['name']} ({model['grade']})"} if model else set()
        print(
            ROW.format(
                number=self._rows,
                file=_tail(str(result["sqs_to_ml_url"])),
                truth=upload.truth if upload else "?",
                verdict=verdict_in_words(result),
                score=_number(result["prediction_score"], "{:.4f}"),
                time=_time(result),
                way=way,
            ).rstrip(),
            flush=True,
        )
        if error := result.get("error"):
            print(f"    {error['code']}: {error['message']}", flush=True)

    def summary(self, outcome: Outcome) -> None:
        """Print the last lines."""
        failed = sum(n.place == outcome.failure_place for n in outcome.notifications)
        print()
        for text in (
            f"{outcome.arrived} of {len(outcome.wanted)} results in {outcome.seconds:.1f} s: "
            f"{len(outcome.stored)} stored in S3, {len(outcome.notifications) - failed} told to "
            f"the topic, {failed} to the queue of failures, {len(outcome.accepted)} posted as "
            f"callbacks, {outcome.late} of them from the outbox once its receiver was up.",
            f"{outcome.cached} from the cache: an object that is asked for again is not "
            "downloaded and detected again.",
            f"{sum(outcome.left.values())} messages left in the queues, {outcome.dead_letters} "
            f"dead letter(s), {outcome.broken} broken on purpose.",
        ):
            print(textwrap.fill(text, COLUMNS))
        if self._grades:
            print(textwrap.fill(f"Models: {', '.join(sorted(self._grades))}.", COLUMNS))
            print("inconclusive: the score lies where the model cannot tell.")
            print("real: no manipulation was found, which proves nothing.")
            print(
                "Small models, to show that the machinery works:\n"
                "never accuse anybody by their scores."
            )


def _time(result: Mapping[str, Any]) -> str:
    if result.get("cached"):
        return "cached"
    ms = result["timings_ms"].get("total")
    if not ms:
        return ""
    return f"{ms:.0f} ms" if ms < LONG_MS else f"{ms / 1000:.1f} s"


def _number(value: object, form: str) -> str:
    return "" if value is None else form.format(value)


def _tail(url: str) -> str:
    return url.rsplit("/", 1)[-1][-FILE_CHARS:]
