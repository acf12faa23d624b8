"""Pages of results: what they say, and that nothing of a stranger becomes markup."""

import copy
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from detection_worker.media.stills.source import LARGE_METADATA
from detection_worker.report.page import POLICY, list_page, result_page, row_of
from detection_worker.report.values import Drawing, ModelNotes, Pictures

JPEG = b"\xff\xd8\xff\xe0 not decoded by anything here"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "javascript:alert(1)",
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "red;background:url(https://example.com/x)",
    "@import 'https://example.com/x.css';",
    "{{ 7 * 7 }}{% raw %}",
    "photo\u202egpj.exe",
    "a\u2066b\u2069c\u200bd",
    "zero\x00 bell\x07 escape\x1b[31m",
    "half a pair \ud800 and a byte \udcff",
    "line\nbreak\r\n\u2028\u2029",
    "A" * 10_240,
    "<!-- ",
    "]]>",
    "&lt;script&gt;&#x202e;",
)
INERT = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer",
         "p", "h1", "h2", "h3", "a", "bdi", "b", "strong", "span", "div", "ul", "ol", "li", "img",
         "figure", "figcaption", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg",
         "rect", "line"}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "aria-label",
    "aria-labelledby", "aria-hidden", "role", "tabindex", "scope", "style", "src", "alt", "href",
    "viewbox", "preserveaspectratio", "x", "y", "width", "height", "x1", "x2", "y1", "y2",
}  # fmt: skip
VOID = {"meta", "img", "rect", "line"}


class Parsed(HTMLParser):
    """A page by a real parser: its elements, their attributes and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check(page: str) -> Parsed:
    """Parse a page; everything in it is inert and from here."""
    parsed = Parsed(page)
    assert parsed.open == []
    assert {tag for tag, _ in parsed.elements} <= INERT
    for tag, attributes in parsed.elements:
        assert set(attributes) <= ATTRIBUTES, tag
        if tag == "a":
            assert attributes["href"].startswith(("./", "../"))
        if tag == "img":
            assert attributes["src"].startswith("data:image/jpeg;base64,")
            assert "alt" in attributes
        if "style" in attributes:
            assert set(attributes["style"]) <= set("lefttopwidthheight:;%.0123456789")
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    policy = [m["content"] for m in parsed.named("meta") if "http-equiv" in m]
    assert policy == [POLICY]
    hidden = [c for c in page if not c.isprintable() and c != "\n"]
    assert hidden == []
    page.encode()
    return parsed


def image(**changes: Any) -> dict[str, Any]:
    """The envelope of an image."""
    return {
        "request_id": "r-1",
        "sqs_to_ml_url": "s3://media/photo.jpg",
        "file_path": "s3://media/photo.jpg",
        "file_type": "image",
        "label": "FAKE",
        "confidence": 0.93,
        "prediction_score": 0.93,
        "threshold": 0.5,
        "status": "finished",
        "error": None,
        "processed_at": "2026-01-01T00:00:00.000Z",
        "s3_file_info": {"size": 1234, "content_type": "image/jpeg", "last_modified": None},
        "model": {
            "name": "image-model",
            "version": "1.0",
            "sha256": "0" * 64,
            "grade": "experimental",
            "calibrated": True,
            "thresholds": {"fake": 0.5, "low": 0.2, "high": 0.7},
        },
        "segments": [
            {
                "start_s": 0.0,
                "score": 0.93,
                "regions": [[0, 0, 128, 128], [256, 128, 384, 256]],
                "region_scores": [0.99, 0.1],
                "faces": None,
            }
        ],
        "media": {
            "container": "jpeg",
            "codec": None,
            "width": 512,
            "height": 256,
            "duration_s": None,
            "size_bytes": 1234,
            "sha256": "1" * 64,
            "frames_analysed": 1,
            "truncated": False,
            "damaged": False,
            "streams": [],
            "warnings": [],
            "quality": ["low_resolution"],
        },
        "verdict": "fake",
        "verdict_reason": {"code": "above_threshold", "message": "Looks manipulated: it does."},
        "tracks": None,
        "provenance": {
            "declares": "captured",
            "signed": False,
            "generator": None,
            "camera": "Maker Model",
            "software": "Program 1",
            "c2pa": None,
            "evidence": [
                {"source": "exif", "field": "Model", "value": "Model", "declares": "captured"}
            ],
        },
        **changes,
    }


def texts_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every text in an envelope."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from texts_of(inner, (*path, key))
    for key, inner in enumerate(value) if isinstance(value, list) else ():
        yield from texts_of(inner, (*path, key))


def changed(envelope: dict[str, Any], path: tuple[Any, ...], text: str) -> dict[str, Any]:
    """The envelope with another text at a path."""
    copied = copy.deepcopy(envelope)
    parent: Any = copied
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = text
    return copied


def test_a_page_says_the_verdict_first_then_score_scale_and_what_was_looked_at() -> None:
    notes = ModelNotes(warning="Experimental.", weaknesses=("Blurred pictures.",))
    parsed = check(result_page(image(), Pictures(frames=(JPEG,)), notes=lambda *_: notes))

    first = parsed.text.index("Looks manipulated", parsed.text.index("result for one image"))
    assert first < parsed.text.index("93.0 %") < parsed.text.index("What was looked at")
    for words in (
        "20 to 70 %: cannot tell",
        "2 squares at full resolution, together 25.0 % of the picture",
        "The picture is small",
        "Blurred pictures.",
        "Experimental.",
        "recorded by a camera",
        "not signed, so easy to forge",
        "512 by 256 pixels",
    ):
        assert words in parsed.text
    [picture] = parsed.named("img")
    assert picture["alt"] == "The image, with 2 scored squares (1: 99.0 %, 2: 10.0 %)"
    marks = [a["style"] for a in parsed.named("span") if a.get("class", "").startswith("mark ")]
    assert marks[1] == "left:50.00%;top:50.00%;width:25.00%;height:50.00%"


def test_real_means_that_nothing_was_found() -> None:
    page = result_page(image(label="REAL", verdict="real", prediction_score=0.01))

    text = check(page).text
    assert "No manipulation found" in text
    assert "REAL means that nothing was found." in text
    assert "this page was made from the stored result alone" in text


def test_a_file_says_nothing_only_if_all_of_it_was_read() -> None:
    result = image(provenance=None)
    assert "no signature, and no trace" in check(result_page(result)).text

    result["media"] = {**result["media"], "warnings": [LARGE_METADATA]}
    text = check(result_page(result)).text
    assert "metadata were skipped" in text
    assert "no signature" not in text

    del result["provenance"]
    text = check(result_page(result)).text
    assert "the version that made this result did not read it" in text
    assert "no signature" not in text


def test_a_failed_result_has_a_reason_a_next_step_and_no_score() -> None:
    error = {"code": "undecodable", "message": "the png image cannot be decoded"}
    nothing = dict.fromkeys(
        ("label", "verdict", "prediction_score", "media", "model", "provenance", "confidence")
    )
    text = check(
        result_page(
            image(status="failed", error=error, segments=[], verdict_reason=None, **nothing)
        )
    ).text

    assert "Could not be analysed" in text
    assert "the png image cannot be decoded" in text
    assert "damaged or incomplete. Code: undecodable" in text
    assert "Score" not in text
    assert "%" not in text


def test_not_applicable_is_no_verdict() -> None:
    reason = {"code": "no_face", "message": "No face was found, and this model looks at faces."}
    found = image(
        label=None, verdict="not_applicable", prediction_score=None, verdict_reason=reason
    )
    found["segments"][0] |= {"score": None, "regions": [], "region_scores": [], "faces": []}
    text = check(result_page(found, Pictures(frames=(JPEG,)))).text

    assert "Not judged" in text
    assert "No face was found" in text
    assert "no score" in text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_of_a_stranger_becomes_markup(text: str) -> None:
    envelope = image()
    for path in texts_of(envelope):
        page = result_page(changed(envelope, path, text), Pictures(frames=(JPEG,)))
        check(page)
        assert len(page) < 80_000, path


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_shown_with_their_hidden_characters(text: str) -> None:
    parsed = check(
        result_page(
            image(file_path=text),
            Pictures(drawings=(Drawing(jpeg=JPEG, title=text, legend=text),)),
            notes=lambda *_: ModelNotes(warning=text, weaknesses=(text,)),
            back=text,
        )
    )

    assert text[:10].encode("ascii", "backslashreplace").decode()[:4] in parsed.text
    if "\u202e" in text:
        assert "photo\\u202egpj.exe" in parsed.text
    if len(text) > 10_000:
        assert "characters" in parsed.text


@pytest.mark.parametrize("value", [None, True, 7, 1e400, -1, "x", [], {}, [[]], {"a": 1}])
def test_envelopes_of_other_versions_and_broken_ones_have_a_page(value: Any) -> None:
    for name in image():
        check(result_page(image(**{name: value}), Pictures(frames=(JPEG,), sound=JPEG)))
    for name in image()["media"]:
        check(result_page(image(media=image()["media"] | {name: value})))
    for name in image()["segments"][0]:
        broken = [image()["segments"][0] | {name: value}]
        for kind in ("image", "video", "audio"):
            check(result_page(image(segments=broken, file_type=kind), Pictures(frames=(JPEG,))))
    check(result_page({}))


def video(count: int, **changes: Any) -> dict[str, Any]:
    """The envelope of a video with so many frames, and of its sound."""
    frames = [
        {
            "start_s": i / 2,
            "score": (i % 10) / 10,
            "regions": [[0, 0, 9, 9]],
            "region_scores": [0.5],
        }
        for i in range(count)
    ]
    windows = [{"start_s": i * 2.0, "end_s": i * 2.0 + 4, "score": 0.4} for i in range(4)]
    model = image()["model"]
    tracks = [
        {"track": "video", "verdict": "fake", "score": 0.9, "counts": True, "model": model},
        {
            "track": "audio",
            "verdict": "inconclusive",
            "score": 0.4,
            "counts": False,
            "model": model | {"name": "sound-model"},
            "segments": windows,
        },
    ]
    media = image()["media"] | {"duration_s": count / 2, "frames_analysed": count}
    return image(file_type="video", segments=frames, tracks=tracks, media=media, **changes)


def test_a_video_has_a_timeline_thumbnails_and_its_sound() -> None:
    parsed = check(result_page(video(100), Pictures(frames=(JPEG,) * 100, sound=JPEG)))

    shown = [i for i in parsed.named("img") if i["alt"].startswith("Frame at")]
    assert len(shown) == 25  # spread over it, and the first of the highest scores
    assert "25 of 100 are shown" in parsed.text
    assert "which had no say in the verdict" in parsed.text
    charts = [s["aria-label"] for s in parsed.named("svg")]
    assert charts[0].startswith("Scores of 100 frames from the start to 50.0 s; the highest at")
    assert charts[1].startswith("Scores of 4 windows of sound from the start to 10.0 s")
    assert "sound-model" in parsed.text
    assert "Has a say" in parsed.text


def test_a_recording_has_its_spectrogram_and_says_what_was_not_listened_to() -> None:
    segments = [{"start_s": 0.0, "end_s": 4.0, "score": 0.8}]
    media = image()["media"] | {"duration_s": 60.0, "analysed_s": 4.0, "sample_rate_hz": 8000}
    recording = image(file_type="audio", segments=segments, media=media)
    parsed = check(result_page(recording, Pictures(sound=JPEG)))

    assert (
        "1 window of sound, together 4.0 s of 1:00. The rest was not listened to." in parsed.text
    )
    assert any("Spectrogram" in i["alt"] for i in parsed.named("img"))


@pytest.mark.parametrize("segments", [[], [{"start_s": 0.0, "end_s": 4.0, "score": None}]])
def test_sound_without_a_score_shows_what_was_heard(segments: list[dict[str, Any]]) -> None:
    reason = {"code": "no_speech", "message": "No speech was found."}
    recording = image(
        file_type="audio", segments=segments, label=None, verdict="not_applicable",
        prediction_score=None, verdict_reason=reason,
    )  # fmt: skip
    parsed = check(result_page(recording, Pictures(sound=JPEG)))

    assert [i["alt"] for i in parsed.named("img")] == [
        "Spectrogram of what was heard, low frequencies at the bottom; what is grey was not "
        "listened to"
    ]
    assert "No window of the sound was scored" in parsed.text
    assert not parsed.named("svg")
    assert "No window" not in check(result_page(recording)).text


def test_a_score_is_never_rounded_to_a_certainty() -> None:
    assert "over 99.9 %" in check(result_page(image(prediction_score=0.99999))).text
    assert "under 0.1 %" in check(result_page(image(prediction_score=0.00001))).text


def test_a_trusted_declaration_that_decides_is_the_headline() -> None:
    reason = {"code": "declared_by_ai_tool", "message": "A trusted signer declares it."}
    text = check(result_page(image(label="REAL", verdict_reason=reason))).text

    assert "Declared as made or edited by AI" in text
    assert "The detector's own score, below, did not decide." in text


def test_a_presigned_url_loses_its_signature() -> None:
    signed = "https://b.s3.amazonaws.com/k.jpg?X-Amz-Signature=secret&X-Amz-Credential=me"

    assert "secret" not in result_page(image(file_path=signed, sqs_to_ml_url=signed))


def test_a_list_links_to_pages_whatever_the_folder_is_called() -> None:
    names = ['a"><script>', "javascript:x", "ü", "b\udcff", "c d?e#f"]
    rows = [row_of(image(file_path=n), folder=n, page="1.html", icon=JPEG) for n in names]
    parsed = check(list_page(rows))

    assert "5 files" in parsed.text
    assert "5: Looks manipulated" in parsed.text
    hrefs = [a["href"] for a in parsed.named("a")]
    assert hrefs[1] == "./javascript%3Ax/1.html"
    assert hrefs[3] == "./b%FF/1.html"
    assert hrefs[4] == "./c%20d%3Fe%23f/1.html"


def test_an_envelope_from_json_with_huge_numbers_has_a_page() -> None:
    envelope = json.loads(json.dumps(image()).replace("512", "9" * 400))

    check(result_page(envelope, Pictures(frames=(JPEG,))))
