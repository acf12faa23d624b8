import hashlib

import pytest

from detection_contract.media_types import MediaKind, kind_of_name
from detection_testing.samples import SAMPLES, Sample, sample_path


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_is_the_file_that_its_licence_was_checked_for(sample: Sample) -> None:
    path = sample_path(sample.name)

    assert hashlib.sha256(path.read_bytes()).hexdigest() == sample.sha256
    assert kind_of_name(sample.name) is sample.kind
    assert f"`{sample.name}`" in path.with_name("LICENSES.md").read_text(encoding="utf-8")


def test_there_is_a_real_and_a_fake_sample_of_every_kind() -> None:
    assert {(s.kind, s.truth) for s in SAMPLES} == {
        (kind, truth) for kind in MediaKind for truth in ("real", "fake")
    }


def test_the_samples_are_small() -> None:
    assert sum(sample_path(s.name).stat().st_size for s in SAMPLES) < 1_500_000


def test_an_unknown_sample_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        sample_path("../secrets")
