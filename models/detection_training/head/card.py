"""Texts and tables of a head that was fitted on the user's own files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from detection_training.evaluation.intervals import Measure
from detection_training.head import files
from detection_training.head.fit import Line
from detection_training.head.values import Scored
from detection_worker.detectors.model_folder.manifest import Manifest

LISTED: Final = 50
"""Most files left out that ``eval.json`` names."""


def evaluation(
    scored: Scored,
    measures: Mapping[str, Measure],
    warnings: Sequence[str],
    *,
    summary: Mapping[str, float],
) -> dict[str, Any]:
    """Return what goes into ``eval.json``.

    Args:
        scored: All files.
        measures: On the test part.
        warnings: What speaks against relying on the head.
        summary: For the manifest.
    """
    counts = Counter(zip(scored.parts, scored.is_fake.tolist(), strict=True))
    groups = {
        part: len({g for g, p in zip(scored.groups, scored.parts, strict=True) if p == part})
        for part in files.SHARES
    }
    skipped = scored.seen.skipped
    return {
        "summary": dict(summary),
        "held_out": {name: one.as_json() for name, one in measures.items()},
        "split": {
            part: {
                "real": counts[part, False],
                "fake": counts[part, True],
                "groups": groups[part],
            }
            for part in files.SHARES
        },
        "left_out": {"files": len(skipped), "first": dict(list(skipped.items())[:LISTED])},
        "warnings": list(warnings),
    }


def card(name: str, below: Manifest, found: Mapping[str, Any], *, line: Line) -> str:
    """Return the text of the model card.

    Args:
        name: Folder name of the model.
        below: The network under the head.
        found: As ``evaluation`` returns it.
        line: The head.
    """
    split = found["split"]
    rows = "\n".join(
        f"| {part} | {n['real']} | {n['fake']} | {n['groups']} |" for part, n in split.items()
    )
    measured = "\n".join(told(found["held_out"]))
    warned = "".join(f"> **{text}**\n>\n" for text in found["warnings"])
    return f"""# {name}

{warned}A last layer of {len(line.weight)} weights, fitted on its maker's own files over the frozen
network of `{below.id}` (weights sha256 `{below.weights_sha256}`). It tells those files' classes
apart; on files of other origin it was not measured.

## Files

| part | real | fake | groups |
| --- | ---: | ---: | ---: |
{rows}

Files of one group are in one part. {found["left_out"]["files"]} files were left out because they
could not be used; `eval.json` names the first of them.

## On the test part, which neither the fit nor the calibration saw

{measured}

## How it was made

Regularised logistic regression on the mean of a file's features, both classes weighing the same;
ridge {line.strength:g}, chosen on groups left out of the fit. Platt scaling, for as many fakes as
real files, and the range of inconclusive scores come from the calibration part.
"""


def told(measures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each measure: its value and interval, or why there is none."""
    return [f"- {name.replace('_', ' ')}: {_told(one)}" for name, one in measures.items()]


def _told(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return str(one["reason"])
    if one["low"] is None:
        return f"{one['value']:.3f} ({one['reason']})"
    return f"{one['value']:.3f} (95 % interval {one['low']:.3f} to {one['high']:.3f})"
