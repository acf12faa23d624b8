import pytest

from detection_contract.media_types import EXTENSIONS, MediaKind, kind_of_name


@pytest.mark.parametrize(
    ("extension", "kind"),
    [(extension, kind) for kind, extensions in EXTENSIONS.items() for extension in extensions],
)
def test_an_extension_tells_the_kind_in_any_case(extension: str, kind: MediaKind) -> None:
    assert kind_of_name(f"folder/name{extension}") is kind
    assert kind_of_name(f"NAME{extension.upper()}") is kind


@pytest.mark.parametrize("name", ["", "mp4", "notes.txt", "a.png.zip", "png/readme"])
def test_other_names_tell_no_kind(name: str) -> None:
    assert kind_of_name(name) is None
