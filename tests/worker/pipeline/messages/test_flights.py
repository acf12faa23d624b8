"""One of the jobs about an object is analysed at a time, and none is forgotten."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.s3_urls import S3Location
from detection_contract.messages import DetectionRequest
from detection_worker.pipeline.messages.flights import Flights
from detection_worker.pipeline.messages.jobs import Job, Message, open_job
from detection_worker.sources.base import ReceivedMessage


def job(number: int, location: S3Location) -> Job:
    received = ReceivedMessage(
        message_id=f"m-{number}",
        receipt_handle="h",
        body="",
        receive_count=1,
        sent_at_s=None,
        attributes={},
    )
    request: Any = DetectionRequest(
        location=location,
        sqs_to_ml_url="s3://b/k",
        callback_url=None,
        confidence_threshold=0.5,
        threshold_given=True,
        request_id=None,
        metadata=None,
        original_message={},
    )
    return open_job(Message(received, received_s=0.0), 0, request)


def at(key: str, version: str | None = None) -> S3Location:
    return S3Location(bucket="b", key=key, version_id=version)


class Table:
    """Flights with what is known and what was resumed."""

    def __init__(self) -> None:
        self.known: set[S3Location] = set()
        self.resumed: list[Job] = []
        self.flights = Flights(
            is_known=lambda location: location in self.known, resume=self.resumed.append
        )


def test_only_the_leaders_end_lets_others_go_on() -> None:
    table = Table()
    first, second, third = (job(n, at("k")) for n in range(3))
    assert [table.flights.enter(j) for j in (first, second, third)] == [True, False, False]

    table.flights.ended(second)  # dropped: its lease was lost
    assert table.resumed == []
    table.flights.ended(first)

    assert table.resumed == [second]
    assert table.flights.enter(second)
    assert table.flights.waiting == 1


def test_a_newcomer_does_not_overtake_the_one_that_is_next() -> None:
    table = Table()
    first, second, late = (job(n, at("k")) for n in range(3))
    table.flights.enter(first)
    table.flights.enter(second)
    table.flights.ended(first)

    assert not table.flights.enter(late)
    assert table.flights.enter(second)
    table.flights.ended(second)
    assert table.resumed == [second, late]


def test_all_go_on_once_the_scores_are_known() -> None:
    table = Table()
    jobs = [job(n, at("k")) for n in range(5)]
    for each in jobs:
        table.flights.enter(each)
    table.known.add(at("k"))

    table.flights.ended(jobs[0])
    table.flights.ended(jobs[0])

    assert table.resumed == jobs[1:]
    assert len(table.flights) == 0


def test_versions_are_objects_of_their_own() -> None:
    table = Table()

    assert table.flights.enter(job(1, at("k")))
    assert table.flights.enter(job(2, at("k", "v1")))
    assert table.flights.enter(job(3, at("k", "v2")))
    assert not table.flights.enter(job(4, at("k", "v1")))


@given(seed=st.integers(0, 10**6), jobs=st.integers(1, 40), objects=st.integers(1, 4))
def test_in_any_order_each_job_ends_and_no_two_are_in_the_air(
    seed: int, jobs: int, objects: int
) -> None:
    rng, table = random.Random(seed), Table()
    coming = [job(n, at(str(n % objects))) for n in range(jobs)]
    rng.shuffle(coming)
    flying: dict[S3Location, Job] = {}
    ended = 0
    while coming or table.resumed or flying:
        source = rng.choice([s for s in (coming, table.resumed, list(flying.values())) if s])
        each = source.pop(rng.randrange(len(source)))
        location = each.request.location
        assert location is not None
        if flying.get(location) is each:
            if rng.random() < 0.3:
                table.known.add(location)
            del flying[location]
            table.flights.ended(each)
            ended += 1
        elif location in table.known:  # it needs no analysis
            table.flights.ended(each)
            ended += 1
        elif table.flights.enter(each):
            assert location not in flying
            flying[location] = each

    assert ended == jobs
    assert (len(table.flights), table.flights.waiting) == (0, 0)
