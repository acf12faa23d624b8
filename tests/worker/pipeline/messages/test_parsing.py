import json
from urllib.parse import quote_plus

import pytest

from detection_contract.messages import ParsedBody
from detection_contract.result_keys import result_key
from detection_worker.pipeline.messages.parsing import body_parser
from detection_worker.settings import ResultSettings, Settings


def event(*keys: str, bucket: str = "media") -> str:
    return json.dumps(
        {
            "Records": [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "bucket": {"name": bucket},
                        "object": {"key": quote_plus(key), "size": 9},
                    },
                }
                for key in keys
            ]
        }
    )


def parsed(body: str, **results: str) -> ParsedBody:
    return body_parser(Settings(results=ResultSettings(**results)))(body)  # type: ignore[arg-type]


def keys_of(found: ParsedBody) -> list[str]:
    return [request.location.key for request in found.requests]


STORED = "results/2026/11/30/req-1.json"
ENTRY = f"scores/{'0a' * 32}"


def test_events_about_stored_results_and_cache_entries_ask_for_nothing() -> None:
    body = event("results/clip.mp4", STORED, ENTRY, "scores/readme.png")

    found = parsed(body, results_url="s3://media/results/", cache_url="s3://media/scores/")

    assert keys_of(found) == ["results/clip.mp4", "scores/readme.png"]
    assert found.skipped == (
        f"the stored result s3://media/{STORED}",
        f"the cache entry s3://media/{ENTRY}",
    )


def test_an_event_about_nothing_else_is_one_without_files() -> None:
    found = parsed(event(STORED), results_url="s3://media/results/")

    assert (found.kind, found.requests) == ("test_event", ())


@pytest.mark.parametrize(
    ("results_url", "bucket"),
    [("s3://results/results/", "media"), ("s3://media/other/", "media")],
    ids=["another bucket", "another prefix"],
)
def test_objects_elsewhere_are_media(results_url: str, bucket: str) -> None:
    assert keys_of(parsed(event(STORED, bucket=bucket), results_url=results_url)) == [STORED]


def test_without_destinations_every_object_is_media() -> None:
    assert keys_of(parsed(event(STORED))) == [STORED]


@pytest.mark.parametrize(
    "template",
    ["{date}/{request_id}.json", "{request_id}", "{bucket}/{key}/{message_id}-{index}"],
)
def test_without_a_prefix_results_are_told_from_the_media_beside_them(template: str) -> None:
    key = result_key(
        template,
        prefix="",
        request_id="a/b",
        message_id="m",
        index=0,
        sent_at_s=None,
        media=("media", "a/clip.mp4"),
    )

    found = parsed(
        event("clip.mp4", "a/b/Clip-0.MOV", key), results_url="s3://media", results_key=template
    )

    assert keys_of(found) == ["clip.mp4", "a/b/Clip-0.MOV"]


def test_media_under_the_prefix_of_results_and_entries_are_not_taken_for_them() -> None:
    keys = ("uploads/clip.mp4", f"uploads/{'0a' * 32}.jpg", "uploads/2026/11/30/a.json.png")

    found = parsed(
        event(*keys),
        results_url="s3://media/uploads/",
        results_key="{bucket}/{key}/{request_id}.json",
        cache_url="s3://media/uploads/",
    )

    assert keys_of(found) == list(keys)


@pytest.mark.parametrize("template", ["{request_id}/{key}", "{request_id}.jpg", "{request_id}"])
def test_results_that_are_named_like_media_are_results_under_their_prefix(template: str) -> None:
    key = template.format(request_id="a.png", key="clip.mp4")

    found = parsed(
        event(f"results/{key}"), results_url="s3://media/results/", results_key=template
    )

    assert keys_of(found) == []


def test_a_message_that_names_a_stored_result_is_answered_as_before() -> None:
    body = json.dumps({"sqs_to_ml_url": f"s3://media/{STORED}"})

    assert len(parsed(body, results_url="s3://media/results/").requests) == 1
