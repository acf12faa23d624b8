"""What comes back out of the cache is what was scored, whatever the request's threshold."""

import json
import random
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.results import encode_result, finished_result, s3_file_info
from detection_worker.cache.codec import (
    MAX_ENTRY_BYTES,
    BadEntry,
    EntryId,
    Scores,
    decode,
    encode,
)
from detection_worker.pipeline.files.analysis import conclude_tracks
from detection_worker.pipeline.stages.envelopes import opinion_of, provenance_of, tracks_of

ABOUT = EntryId(bucket="media", key="a/b ü.png", version_id=None, scoring="5" * 64)
KINDS = (
    "image",
    "jpeg",
    "wrong extension",
    "small image",
    "video",
    "video with sound",
    "real video",
    "speech",
    "ogg",
    "no speech",
    "jpeg, faces",
    "image, faces",
    "real video, faces",
    "clips",
    "declared",
)


def envelope(scores: Scores, *, threshold: float) -> bytes:
    found = conclude_tracks(scores.main, scores.sound, threshold=threshold)
    known = scores.object
    return encode_result(
        finished_result(
            request_id="r",
            sqs_to_ml_url="s3://media/a.png",
            file_path="s3://media/a.png",
            local_path=None,
            file_type=found.info.kind,
            opinion=opinion_of(found),
            threshold=threshold,
            is_s3_file=True,
            queue_url=None,
            s3_file_info=s3_file_info(known.size_bytes, known.content_type, known.last_modified),
            processed_at=datetime(2026, 1, 1, tzinfo=UTC),
            original_message=None,
            metadata=None,
            model=found.model,
            timings_ms={},
            segments=found.segments,
            media=found.media,
            tracks=tracks_of(found),
            provenance=provenance_of(found),
        )
    )


@pytest.fixture(scope="session")
def bodies(examples: Any) -> dict[str, bytes]:
    return {name: encode(ABOUT, example.scores) for name, example in examples.items()}


def test_the_examples_are_of_every_kind_of_outcome(examples: Any) -> None:
    assert set(examples) == set(KINDS)
    opinions = {
        name: opinion_of(
            conclude_tracks(example.scores.main, example.scores.sound, threshold=0.5)
        ).reason_code
        for name, example in examples.items()
    }
    assert opinions["no speech"] == "no_speech"
    assert opinions["image, faces"] == "no_face"
    assert examples["video with sound"].scores.sound is not None
    assert examples["jpeg, faces"].scores.main.decoded.faces
    assert examples["clips"].scores.main.decoded.end_s is not None
    assert len(opinions) - list(opinions.values()).count("no_face") >= 10


@pytest.mark.slow
@given(threshold=st.floats(0, 1), kind=st.sampled_from(KINDS))
def test_scores_that_come_back_give_the_same_envelope(
    threshold: float, kind: str, examples: Any, bodies: dict[str, bytes]
) -> None:
    example = examples[kind]

    back = decode(bodies[kind], ABOUT, example.cards)

    assert envelope(back, threshold=threshold) == envelope(example.scores, threshold=threshold)
    assert back.object == example.scores.object
    assert np.array_equal(back.main.logits, example.scores.main.logits)
    assert back.main.logits.dtype == np.float32
    assert encode(ABOUT, back) == bodies[kind]


@pytest.mark.slow
def test_entries_are_small(bodies: dict[str, bytes]) -> None:
    assert max(map(len, bodies.values())) < 10_000


def document(bodies: dict[str, bytes], kind: str) -> Any:
    return json.loads(bodies[kind])


def refused(entry: object, cards: Any, about: EntryId = ABOUT) -> str:
    with pytest.raises(BadEntry) as caught:
        decode(entry if isinstance(entry, bytes) else json.dumps(entry).encode(), about, cards)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        EntryId(bucket="other", key=ABOUT.key, version_id=None, scoring=ABOUT.scoring),
        EntryId(bucket=ABOUT.bucket, key="other", version_id=None, scoring=ABOUT.scoring),
        EntryId(bucket=ABOUT.bucket, key=ABOUT.key, version_id="v1", scoring=ABOUT.scoring),
        EntryId(bucket=ABOUT.bucket, key=ABOUT.key, version_id=None, scoring="6" * 64),
    ],
    ids=["bucket", "key", "version", "models"],
)
def test_an_entry_about_something_else_is_of_no_use(
    other: EntryId, examples: Any, bodies: dict[str, bytes]
) -> None:
    assert other.name != ABOUT.name
    text = refused(bodies["image"], examples["image"].cards, other)
    assert text == "it is about another object or other models"


@pytest.mark.slow
def test_an_entry_of_models_that_are_not_loaded_is_of_no_use(
    examples: Any, bodies: dict[str, bytes]
) -> None:
    cards = examples["clips"].cards

    assert refused(bodies["image"], cards) == "it was scored by a model that is not loaded"
    assert refused(bodies["video"], cards) == "it was scored by a model that is not loaded"


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\x80\x04\x95",
        b'{"schema":1}',
        b"[" * 100_000,
        b'{"schema":' + b"9" * 5000 + b"}",
        b" " * (MAX_ENTRY_BYTES + 1),
        "{}".encode("utf-16"),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_entry_is_refused(body: bytes, examples: Any) -> None:
    assert refused(body, examples["image"].cards)


CHANGES = [
    ("schema", 2),
    ("etag", ""),
    ("etag", None),
    ("size_bytes", -1),
    ("size_bytes", "12"),
    ("last_modified", "2026-10-21T07:28:00"),
    ("last_modified", 5),
    ("tracks", []),
    ("tracks", {}),
    ("extra", 1),
    ("tracks.0.model_sha256", "0" * 64),
    ("tracks.0.extra", 1),
    ("tracks.0.logits", [1e39, 0.0, 0.0, 0.0]),
    ("tracks.0.logits", ["1", 0.0, 0.0, 0.0]),
    ("tracks.0.logits", [True, 0.0, 0.0, 0.0]),
    ("tracks.0.logits", [0.5]),
    ("tracks.0.logits", []),
    ("tracks.0.frame", [0, 0, 0, -1]),
    ("tracks.0.frame", [0, 0, 0, 1]),
    ("tracks.0.frame", [1, 1, 1, 1]),
    ("tracks.0.frame", [0, 0, 0, 2**31]),
    ("tracks.0.frame", [0.5, 0, 0, 0]),
    ("tracks.0.at_s", []),
    ("tracks.0.at_s", [0.0, 1.0]),
    ("tracks.0.boxes", [[0, 0, 1, 1]]),
    ("tracks.0.boxes", [[0, 0, 1]] * 4),
    ("tracks.0.boxes", [[0, 0, 1, 2**40]] * 4),
    ("tracks.0.faces", []),
    ("tracks.0.faces", [None] * 4),
    ("tracks.0.end_s", [0.0, 1.0]),
    ("tracks.0.speech", True),
    ("tracks.0.info.width", 0),
    ("tracks.0.info.height", None),
    ("tracks.0.info.visible_px", [0, 1]),
    ("tracks.0.info.kind", "picture"),
    ("tracks.0.info.kind", "audio"),
    ("tracks.0.info.frames_analysed", 0),
    ("tracks.0.info.duration_s", -1.0),
    ("tracks.0.info.warnings", "none"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("field", "value"), CHANGES, ids=lambda value: repr(value)[:40])
def test_a_value_that_cannot_be_is_refused(
    field: str, value: object, examples: Any, bodies: dict[str, bytes]
) -> None:
    entry: Any = document(bodies, "image")
    assert len(entry["tracks"][0]["logits"]) == 4
    place, *path = field.split(".")[::-1]
    at = entry
    for name in reversed(path):
        at = at[int(name) if name.isdigit() else name]
    at[place] = value

    assert refused(entry, examples["image"].cards)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_score_that_is_no_number_is_refused(
    number: str, examples: Any, bodies: dict[str, bytes]
) -> None:
    entry = document(bodies, "image")
    entry["tracks"][0]["logits"] = ["LOGIT"] * 4
    body = json.dumps(entry).replace('"LOGIT"', number).encode()

    assert refused(body, examples["image"].cards)


@pytest.mark.slow
def test_only_the_sound_of_a_video_is_a_second_track(
    examples: Any, bodies: dict[str, bytes]
) -> None:
    entry = document(bodies, "image")
    entry["tracks"].append(document(bodies, "image")["tracks"][0])

    text = refused(entry, examples["image"].cards)
    assert text == "its tracks do not belong together"


@pytest.mark.slow
def test_a_sound_has_to_say_whether_anybody_speaks(
    examples: Any, bodies: dict[str, bytes]
) -> None:
    entry = document(bodies, "speech")
    assert entry["tracks"][0]["speech"] is True
    entry["tracks"][0]["speech"] = None

    text = refused(entry, examples["speech"].cards)
    assert text == "it does not say whether anybody speaks"


@pytest.mark.slow
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS))
def test_a_damaged_entry_is_refused_or_gives_a_result(
    seed: int, kind: str, examples: Any, bodies: dict[str, bytes]
) -> None:
    rng, body = random.Random(seed), bytearray(bodies[kind])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        match rng.randrange(3):
            case 0:
                body[at] = rng.randrange(256)
            case 1:
                del body[at : at + rng.randrange(1, 40)]
            case _:
                body[at:at] = body[: rng.randrange(1, 40)]
    try:
        back = decode(bytes(body), ABOUT, examples[kind].cards)
    except BadEntry:
        return
    assert json.loads(envelope(back, threshold=0.5))["status"] == "finished"


@pytest.mark.slow
def test_an_entry_that_would_be_too_large_is_not_made(examples: Any) -> None:
    scores = examples["image"].scores
    content_type = "x" * MAX_ENTRY_BYTES
    known = scores.object
    long = Scores(
        object=type(known)(
            size_bytes=1, content_type=content_type, last_modified=None, etag=known.etag
        ),
        main=scores.main,
        sound=None,
    )

    with pytest.raises(ValueError, match="allowed are 1048576"):
        encode(ABOUT, long)
