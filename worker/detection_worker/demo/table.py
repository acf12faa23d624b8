"""The live table of results."""

from collections.abc import Mapping
from typing import Any

from detection_worker.demo.check import Outcome
from detection_worker.demo.media import Upload

ROW = "{number:>3}  {file:<28} {kind:<6} {truth:<7} {label:<9} {score:>8} {sure:>6}  {times}"


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
                    label="label",
                    score="P(fake)",
                    sure="sure",
                    times="download + decode + inference, total",
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
                label=_label(result),
                score=_number(result["prediction_score"], "{:.4f}"),
                sure=_number(result["confidence"], "{:.0%}"),
                times=_times(result),
            ),
            flush=True,
        )

    def summary(self, outcome: Outcome) -> None:
        """Print the last lines."""
        print()
        print(
            f"{len(outcome)} of {len(outcome.expected)} results in {outcome.seconds:.1f} s, "
            f"{outcome.left_in_queue} messages left in the queue, "
            f"{outcome.dead_letters} dead letter(s), {outcome.broken} broken on purpose."
        )
        if self._grades:
            print(f"Models: {', '.join(sorted(self._grades))}.")
            print("A label with ? is inconclusive: between the model's thresholds it cannot tell.")
            print(
                "Small models, to show that the machinery works: never accuse anybody by their "
                "scores."
            )


def _label(result: Mapping[str, Any]) -> str:
    if not result["label"]:
        return "failed" if result.get("error") else "none"
    return f"{result['label']}{'?' if result.get('verdict') == 'inconclusive' else ''}"


def _times(result: Mapping[str, Any]) -> str:
    error = result.get("error")
    if error:
        return f"{error['code']}: {error['message']}"[:60]
    ms = result["timings_ms"]
    steps = " + ".join(f"{ms.get(s, 0):.0f}" for s in ("download", "decode", "inference"))
    return f"{steps}, {ms.get('total', 0):.0f} ms"


def _number(value: object, form: str) -> str:
    return "" if value is None else form.format(value)


def _tail(url: str) -> str:
    return url.rsplit("/", 1)[-1][-28:]
