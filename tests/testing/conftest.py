"""One local AWS for every test of this folder; queues and buckets have names of their own."""

from collections.abc import Iterator
from itertools import count

import pytest

from detection_testing.aws.local_aws import LocalAws

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def shared_aws() -> Iterator[LocalAws]:
    """A server in a thread, for the whole session."""
    with LocalAws.in_thread() as aws:
        yield aws


@pytest.fixture
def aws(shared_aws: LocalAws) -> Iterator[LocalAws]:
    """The server, without faults before and after."""
    shared_aws.clear_faults()
    yield shared_aws
    shared_aws.clear_faults()


@pytest.fixture
def name() -> str:
    """A name that nothing else uses."""
    return f"n{next(_NUMBERS)}"
