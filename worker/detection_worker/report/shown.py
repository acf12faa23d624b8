"""What the page of one result shows; made by ``view``, laid out by the templates."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detection_worker.report.scale import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A score on the scale, or a part of a picture with its score.

    Attributes:
        label: Its number on the picture.
        score: In words.
        level: What it means.
        left: Percent of the picture's width, as the three that follow of width and height.
        top: See ``left``.
        width: See ``left``.
        height: See ``left``.
    """

    label: str
    score: str
    level: Level
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A picture of the file.

    Attributes:
        source: ``data:`` URL.
        alt: What it shows, for those who do not see it.
        title: Where in the file it is from.
        score: In words; empty for none.
        level: What that means.
        marks: Parts that were scored.
    """

    source: Markup
    alt: str
    title: str
    score: str
    level: Level
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A score over time, in units of the chart: 1,000 wide and 100 high."""

    x: float
    width: float
    height: float
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Scores over time.

    Attributes:
        alt: The chart in words.
        bars: Scored frames or windows.
        end: Time at its right end.
        low: Height of the doubtful zone's lower end, 0 to 100.
        high: Height of its upper end.
        threshold: Height of the threshold.
        spectrogram: ``data:`` URL; None without one.
        above: The highest scores, in words.
    """

    alt: str
    bars: Sequence[Bar]
    end: str
    low: float
    high: float
    threshold: float
    spectrogram: Markup | None
    above: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """The score on its scale, all places in percent of its length.

    Attributes:
        score: In words.
        at: Place of the score.
        low: Start of the doubtful zone.
        high: Its end.
        threshold: Place of the threshold.
        zones: The zones in words, with their levels.
    """

    score: str
    at: float
    low: float
    high: float
    threshold: float
    zones: Sequence[tuple[Level, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model that scored a part of the file."""

    name: str
    role: str
    facts: Sequence[tuple[str, str]]
    warning: str
    weaknesses: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Everything on the page of one result.

    Attributes:
        name: The file.
        kind: Image, video or audio; empty if unknown.
        headline: The verdict in words.
        level: What it means.
        reason: Why.
        meaning: What a reader may conclude.
        label: The label by the threshold alone; empty if it is the verdict.
        declared: What the file says of itself, beside the verdict.
        gauge: None without a score.
        looked_at: What was analysed, a sentence each.
        limits: What was not, or went wrong.
        picture: The still image.
        frames: Frames of a video.
        frames_note: Which of them are shown.
        drawings: Further evidence, with legends.
        timeline: Scores of the frames.
        sound: Scores of the sound.
        unscored_sound: Spectrogram of sound of which no window was scored, as a ``data:`` URL.
        tracks: Verdicts on pictures and sound of a video.
        facts: The file.
        provenance: What it says of its making.
        says_nothing: What it means that it says nothing.
        evidence: Statements: where, what, meaning.
        models: The models.
        step: What to do about a failure.
        pictures_missing: Why no picture is shown; empty if there are some.
    """

    name: str
    kind: str
    headline: str
    level: Level
    reason: str
    meaning: str
    label: str
    declared: str
    gauge: Gauge | None
    looked_at: Sequence[str]
    limits: Sequence[str]
    picture: Tile | None
    frames: Sequence[Tile]
    frames_note: str
    drawings: Sequence[tuple[Markup, str, str]]
    timeline: Chart | None
    sound: Chart | None
    unscored_sound: Markup | None
    tracks: Sequence[tuple[str, str, Level, str, str]]
    facts: Sequence[tuple[str, str]]
    provenance: Sequence[tuple[str, str]]
    says_nothing: str
    evidence: Sequence[tuple[str, str, str, str]]
    models: Sequence[Model]
    step: str
    pictures_missing: str
