import json

import pytest

from detection_contract.aws.redrive import dead_letter_url, parse_redrive_policy

SOURCE = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"
DEAD = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs-dead"


@pytest.mark.parametrize(
    ("source_url", "expected"),
    [
        pytest.param(SOURCE, DEAD, id="aws"),
        pytest.param(
            "http://localhost:4566/000000000000/jobs",
            "http://localhost:4566/123456789012/jobs-dead",
            id="an emulator",
        ),
        pytest.param(
            "http://localhost:9324/queue/jobs",
            "http://localhost:9324/queue/jobs-dead",
            id="an emulator without accounts",
        ),
        pytest.param(
            "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/jobs/",
            "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/jobs-dead",
            id="a vpc endpoint",
        ),
    ],
)
def test_the_dead_letter_queue_is_a_neighbour_of_its_source(
    source_url: str, expected: str
) -> None:
    text = json.dumps(
        {
            "deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:jobs-dead",
            "maxReceiveCount": "5",
        }
    )

    policy = parse_redrive_policy(text)

    assert policy is not None
    assert dead_letter_url(policy, source_url=source_url) == expected
    assert policy.max_receive_count == 5


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no attribute"),
        pytest.param("", id="none"),
        pytest.param("{}", id="empty"),
        pytest.param("[]", id="a list"),
        pytest.param('{"deadLetterTargetArn": "x", "maxReceiveCount": 3}', id="no ARN"),
        pytest.param('{"deadLetterTargetArn": "a:b:c:d:e:f"}', id="no count"),
        pytest.param('{"deadLetterTargetArn": "a:b:c:d:e:", "maxReceiveCount": 3}', id="no name"),
    ],
)
def test_no_usable_policy_is_no_policy(text: str | None) -> None:
    assert parse_redrive_policy(text) is None
