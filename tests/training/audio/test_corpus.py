from itertools import combinations
from pathlib import Path

import pytest

from detection_training.audio import stages
from detection_training.audio.corpus import LANGUAGES, PROMPTS, split_of, voices
from detection_training.audio.making.channels import STORAGES, storage_of
from detection_training.audio.order import UNSEEN
from detection_training.audio.plan import PLANS
from detection_training.pipeline.locked import read_lock
from detection_training.pipeline.splits import Split

FILES = {
    "asterisk-core-sounds-es-g722": ["sounds/es/hello.g722", "sounds/es/copyright"],
    "fillets-ng-data-nl": ["city/nl/vit-m-hoofd.ogg", "city/nl/vit-v-x.ogg", "x/a-ng-b.ogg"],
    "klettres-data": ["klettres/hu/alpha/a.ogg", "klettres/tn/alpha/a.ogg"],
    "tuxpaint-stamps-default": ["stamps/cat_desc_el.ogg", "stamps/cat.ogg"],
    "unrelated": ["sounds/el/x.ogg"],
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for package, names in FILES.items():
        for name in names:
            path = tmp_path / package / "usr" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return {package: tmp_path / package for package in FILES}


def test_no_language_is_in_two_splits() -> None:
    for one, other in combinations(LANGUAGES.values(), 2):
        assert not set(one) & set(other)


def test_every_package_of_speech_is_locked() -> None:
    names = {package.name for package in read_lock(stages.LOCK)}

    assert set(PROMPTS) <= names
    assert {"fillets-ng-data-cs", "fillets-ng-data-nl", "klettres-data"} <= names


def test_voices_are_found_by_name_and_noises_and_other_languages_are_not(
    folders: dict[str, Path],
) -> None:
    found = {(v.name, v.language, v.split, len(v.files)) for v in voices(folders)}

    assert found == {
        ("asterisk-core-sounds-es-g722", "es", Split.TRAIN, 1),
        ("fillets-ng-data-nl-m", "nl", Split.TEST, 1),
        ("fillets-ng-data-nl-v", "nl", Split.TEST, 1),
        ("klettres-data-hu", "hu", Split.DEV, 1),
        ("tuxpaint-stamps-default-el", "el", Split.TEST, 1),
    }


def test_a_language_that_is_not_listed_is_not_used() -> None:
    assert split_of("tn") is None
    assert split_of("fr") is Split.TRAIN


@pytest.mark.parametrize(
    ("source", "suffix", "storage"),
    [
        ("asterisk-core-sounds-en-g722", ".g722", "g722"),
        ("asterisk-prompt-es-co", ".gsm", "gsm"),
        ("asterisk-prompt-it-menardi-wav", ".wav", "8khz"),
        ("fillets-ng-data-nl", ".ogg", "vorbis"),
        ("ktuberling-data", ".wav", "clean"),
    ],
)
def test_made_speech_is_stored_as_the_real_speech_of_its_package_was(
    source: str, suffix: str, storage: str
) -> None:
    assert storage_of(source, suffix) == storage
    assert storage in STORAGES


def test_every_preset_makes_something_for_every_split() -> None:
    for plan in PLANS.values():
        for amounts in (plan.per_voice, plan.per_language, plan.per_engine):
            assert min(amounts[split] for split in (Split.TRAIN, Split.DEV, Split.TEST)) > 0
    assert UNSEEN
