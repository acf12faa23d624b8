"""From a result and its pictures to what the page shows. Pure: no clock, files or network."""

from collections.abc import Callable
from dataclasses import dataclass

from detection_contract.results import verdict_in_words
from detection_worker.report import facts, parts, words
from detection_worker.report.envelope import Object, child, number, objects, share, text
from detection_worker.report.scale import Level, Scale, percent, scale_of
from detection_worker.report.shown import Chart, Model, Sheet, Tile
from detection_worker.report.values import NO_NOTES, ModelNotes, Pictures

NotesOf = Callable[[object, object], ModelNotes]
"""Returns the notes on a model of a name and digest."""
DECLARED = "declared_by_ai_tool"


def no_notes(_name: object, _sha256: object) -> ModelNotes:
    """Return no notes, whatever the model."""
    return NO_NOTES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A result, taken apart once."""

    result: Object
    media: Object
    kind: str
    verdict: str
    scale: Scale
    size_px: tuple[float, float]

    @property
    def segments(self) -> list[Object]:
        return objects(self.result, "segments")


def sheet_of(result: Object, pictures: Pictures, notes: NotesOf = no_notes) -> Sheet:
    """Return what the page of a result shows.

    Args:
        result: The envelope of a finished or failed job, of any version.
        pictures: Pictures of the same file.
        notes: Knows the cards of models.
    """
    case = _case(result)
    reason = child(result, "verdict_reason")
    is_declared = text(reason, "code") == DECLARED
    headline = words.DECLARED_HEADLINE if is_declared else words.HEADLINES[case.verdict]
    score = share(result, "prediction_score")
    frames, sound = _frames(case, pictures), _sound(case, pictures)
    return Sheet(
        name=facts.name_of(result),
        kind=words.MEDIA.get(case.kind, ""),
        headline=headline,
        level=words.LEVELS.get(case.verdict, "none"),
        reason=text(child(result, "error"), "message") or text(reason, "message"),
        meaning=words.DECLARED_MEANING if is_declared else words.MEANINGS[case.verdict],
        label=facts.confidence_of(result),
        declared=facts.declared(result),
        gauge=None if score is None else parts.gauge_of(score, case.scale),
        looked_at=facts.looked_at(result),
        limits=facts.limits_of(result),
        picture=_picture(case, pictures),
        frames=frames,
        frames_note=_frames_note(case, frames),
        drawings=[(parts.data_url(d.jpeg), d.title, d.legend) for d in pictures.drawings],
        timeline=_timeline(case),
        sound=sound,
        unscored_sound=parts.data_url(pictures.sound) if pictures.sound and not sound else None,
        tracks=_tracks(case),
        facts=facts.facts_of(result),
        provenance=facts.provenance_of(result),
        says_nothing=facts.says_nothing(result),
        evidence=facts.evidence_of(result),
        models=_models(case, notes),
        step=_step(result),
        pictures_missing=_missing(case, pictures),
    )


def _case(result: Object) -> _Case:
    media = child(result, "media")
    size = (number(media, "width") or 1.0, number(media, "height") or 1.0)
    verdict = verdict_in_words({"label": None, **result})
    return _Case(
        result=result,
        media=media,
        kind=text(result, "file_type"),
        verdict=verdict if verdict in words.HEADLINES else "not applicable",
        scale=scale_of(share(result, "threshold"), child(result, "model")),
        size_px=(max(size[0], 1.0), max(size[1], 1.0)),
    )


def _picture(case: _Case, pictures: Pictures) -> Tile | None:
    if case.kind != "image" or not pictures.frames:
        return None
    segment = case.segments[0] if case.segments else {}
    return parts.picture_of(
        pictures.frames[0],
        segment,
        size_px=case.size_px,
        scale=case.scale,
        faces=isinstance(segment.get("faces"), list),
    )


def _frames(case: _Case, pictures: Pictures) -> list[Tile]:
    if case.kind != "video":
        return []
    return parts.frames_of(
        pictures.frames, case.segments, size_px=case.size_px, scale=_track_scale(case, "video")
    )


def _frames_note(case: _Case, frames: list[Tile]) -> str:
    total = len(case.segments)
    if not frames or len(frames) >= total:
        return ""
    return f"{len(frames)} of {total} are shown; the chart has all."


def _track(case: _Case, name: str) -> Object:
    tracks = objects(case.result, "tracks")
    return next((t for t in tracks if text(t, "track") == name), {})


def _track_scale(case: _Case, name: str) -> Scale:
    model = child(_track(case, name), "model") or child(case.result, "model")
    return scale_of(share(case.result, "threshold"), model)


def _timeline(case: _Case) -> Chart | None:
    if case.kind != "video":
        return None
    return parts.chart_of(
        case.segments,
        scale=_track_scale(case, "video"),
        duration_s=number(case.media, "duration_s"),
        what="frames",
    )


def _sound(case: _Case, pictures: Pictures) -> Chart | None:
    if case.kind == "image":
        return None
    track = _track(case, "audio")
    segments = case.segments if case.kind == "audio" else objects(track, "segments")
    return parts.chart_of(
        segments,
        scale=case.scale if case.kind == "audio" else _track_scale(case, "audio"),
        duration_s=number(case.media, "duration_s"),
        what="windows of sound",
        spectrogram=pictures.sound,
    )


def _tracks(case: _Case) -> list[tuple[str, str, Level, str, str]]:
    tracks = objects(case.result, "tracks")
    if len(tracks) < 2:
        return []
    return [_track_row(track) for track in tracks]


def _track_row(track: Object) -> tuple[str, str, Level, str, str]:
    verdict = text(track, "verdict").replace("_", " ")
    say = "yes" if track.get("counts") is True else "no"
    return (
        "Sound" if text(track, "track") == "audio" else "Pictures",
        words.HEADLINES.get(verdict, verdict),
        words.LEVELS.get(verdict, "none"),
        percent(share(track, "score")),
        say,
    )


def _models(case: _Case, notes: NotesOf) -> list[Model]:
    found = [("", child(case.result, "model"), case.scale)]
    sound = child(_track(case, "audio"), "model")
    if case.kind == "video" and sound:
        found = [("pictures", found[0][1], case.scale)]
        found.append(("sound", sound, _track_scale(case, "audio")))
    return [_model(role, model, scale, notes) for role, model, scale in found if model]


def _model(role: str, model: Object, scale: Scale, notes: NotesOf) -> Model:
    known = notes(model.get("name"), model.get("sha256"))
    return Model(
        name=text(model, "name"),
        role=role,
        facts=facts.model_facts(model, scale),
        warning=known.warning,
        weaknesses=known.weaknesses,
    )


def _step(result: Object) -> str:
    error = child(result, "error")
    if not error:
        return ""
    code = text(error, "code")
    return f"{words.STEPS.get(code, words.NO_STEP)} Code: {code}"


def _missing(case: _Case, pictures: Pictures) -> str:
    if case.verdict == "failed" or pictures.frames or pictures.sound:
        return ""
    if case.result.get("cached") is True:
        return "The file was not opened again, so there is no picture of it here."
    return "There are no pictures here: this page was made from the stored result alone."
