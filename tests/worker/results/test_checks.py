from dataclasses import replace

import pytest

from detection_worker.errors import UsageError
from detection_worker.results.checks import check_destinations
from detection_worker.settings import ResultSettings

WORK = "arn:aws:sqs:eu-west-1:123456789012:work"


@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.eu-west-1.amazonaws.com/123456789012/work",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/work/",
        "https://eu-west-1.queue.amazonaws.com/123456789012/work",
        "https://vpce-1a-2b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/work",
        "http://localhost:4566/000000000000/work",
        "http://localhost:9324/queue/work",
        "http://localhost:9324/work",
    ],
)
@pytest.mark.parametrize("option", ["on_success", "on_failure"])
def test_a_worker_never_publishes_to_a_queue_of_its_own(option: str, url: str) -> None:
    named = {option: ("arn:aws:sns:eu-west-1:123456789012:work", WORK)}
    results = replace(ResultSettings(), **named)  # type: ignore[arg-type]

    flag = option.replace("_", "-")
    with pytest.raises(UsageError, match=f"--{flag} names a queue of this worker: {WORK}\n"):
        check_destinations(results, queues=[None, url])


def test_nor_to_its_outbox() -> None:
    results = ResultSettings(
        on_success=(WORK,), outbox_url="https://sqs.eu-west-1.amazonaws.com/123456789012/work"
    )

    with pytest.raises(UsageError, match="names a queue of this worker"):
        check_destinations(results, queues=[])


@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.eu-west-1.amazonaws.com/123456789012/work2",
        "https://sqs.eu-west-1.amazonaws.com/999999999999/work",
        "https://sqs.us-east-1.amazonaws.com/123456789012/work",
    ],
)
def test_a_queue_of_another_name_account_or_region_is_another(url: str) -> None:
    check_destinations(ResultSettings(on_success=(WORK,)), queues=[url])


def test_the_prefix_leaves_room_for_keys() -> None:
    check_destinations(ResultSettings(results_url="s3://bucket/" + "x" * 500), queues=[])

    with pytest.raises(UsageError, match="longer than 512 bytes"):
        check_destinations(ResultSettings(results_url="s3://bucket/" + "ü" * 256), queues=[])


@pytest.mark.parametrize(
    "template", ["{request_id}/{key}", "{request_id}.jpg", "{request_id}.MP4"]
)
def test_results_beside_the_media_are_not_named_like_media(template: str) -> None:
    results = ResultSettings(results_url="s3://media", results_key=template)

    with pytest.raises(UsageError, match="its events"):
        check_destinations(results, queues=[])

    check_destinations(replace(results, results_url="s3://media/results/"), queues=[])


@pytest.mark.parametrize("template", ["{request_id}/{key}.json", "{request_id}"])
def test_names_that_no_media_have_need_no_prefix(template: str) -> None:
    check_destinations(ResultSettings(results_url="s3://media/", results_key=template), queues=[])


@pytest.mark.parametrize("url", ["s3://bucket/../x/", "s3://bucket/a/./", "s3://bucket/a?b/"])
@pytest.mark.parametrize("setting", ["results_url", "cache_url"])
def test_prefixes_have_no_folders_of_dots_and_no_query(setting: str, url: str) -> None:
    results = replace(ResultSettings(), **{setting: url})  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="The prefix of --"):
        check_destinations(results, queues=[])


def test_pages_need_a_place_and_keys_that_tell_them_from_results() -> None:
    pages = ResultSettings(results_pages=True)
    with pytest.raises(UsageError, match="--results-pages needs --results\n"):
        check_destinations(pages, queues=[])

    stored = replace(pages, results_url="s3://bucket/out/")
    check_destinations(stored, queues=[])
    for template in ("{request_id}", "{request_id}.html", "{request_id}.json.gz"):
        with pytest.raises(UsageError, match=r"End the key in \.json"):
            check_destinations(replace(stored, results_key=template), queues=[])
