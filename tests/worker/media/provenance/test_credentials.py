"""C2PA manifests: signed by the initiative's own library, read in the jail."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from detection_testing.media import provenance_samples as made
from detection_testing.media.signed_samples import Signatory, action, signatory, signed
from detection_worker.media.declarations import Provenance
from detection_worker.media.provenance.credentials import ManifestReader
from detection_worker.media.values import DecodedMedia

GENERATED, EDITED = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
Decode = Callable[..., DecodedMedia]


@pytest.fixture(scope="module")
def by() -> Signatory:
    return signatory()


@pytest.fixture(scope="module")
def camera() -> Signatory:
    return signatory("Example Camera")


@pytest.fixture
def read(decode: Decode, tmp_path: Path) -> Callable[[str, bytes], Provenance | None]:
    def run(name: str, data: bytes) -> Provenance | None:
        path = tmp_path / name
        path.write_bytes(data)
        return decode(path).info.provenance

    return run


Read = Callable[[str, bytes], Provenance | None]


@pytest.mark.parametrize(
    ("name", "form", "mime_type"),
    [
        ("a.jpg", "JPEG", "image/jpeg"),
        ("a.png", "PNG", "image/png"),
        ("a.webp", "WEBP", "image/webp"),
        ("a.tif", "TIFF", "image/tiff"),
    ],
)
def test_a_signed_still(name: str, form: str, mime_type: str, by: Signatory, read: Read) -> None:
    found = read(name, signed(made.saved(form), mime_type, by, actions=[action(GENERATED)]))
    assert found is not None
    assert (found.declares, found.signed, found.generator) == (
        "ai_generated",
        True,
        "Example Model",
    )
    assert found.c2pa is not None
    assert found.c2pa.state == "valid"
    assert found.c2pa.issuer == "Example Generator"
    assert found.c2pa.claim_generator == "Example Writer 2.0"
    assert found.c2pa.problem is None


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("a.mp4", "video/mp4"),
        ("a.mov", "video/quicktime"),
        ("a.wav", "audio/wav"),
        ("a.mp3", "audio/mpeg"),
        ("a.m4a", "audio/mp4"),
    ],
)
def test_a_signed_stream(
    name: str, mime_type: str, by: Signatory, decode: Decode, tmp_path: Path
) -> None:
    path = tmp_path / name
    if mime_type.startswith("video"):
        made.video_file(path, {})
    else:
        made.sound_file(
            path, {"wav": "pcm_s16le", "mp3": "libmp3lame", "m4a": "aac"}[name[2:]], {}
        )
    path.write_bytes(signed(path.read_bytes(), mime_type, by, actions=[action(GENERATED)]))
    found = decode(path).info.provenance
    assert found is not None
    assert (found.declares, found.signed) == ("ai_generated", True)


def test_a_trusted_signer(by: Signatory, camera: Signatory, tmp_path: Path) -> None:
    trust = tmp_path / "trust.pem"
    trust.write_bytes(by.root)
    reader = ManifestReader(trust)
    states = {}
    for who in (by, camera):
        path = tmp_path / "a.jpg"
        path.write_bytes(signed(made.jpeg(), "image/jpeg", who, actions=[action(GENERATED)]))
        with path.open("rb") as file:
            states[who.root] = reader.read(file, "jpeg")[0].state
    assert (states[by.root], states[camera.root]) == ("trusted", "valid")


def test_a_trust_list_without_certificates(tmp_path: Path) -> None:
    trust = tmp_path / "trust.pem"
    trust.write_text("nothing of the kind")
    with pytest.raises(ValueError, match=r"trust\.pem"):
        ManifestReader(trust)


def test_pixels_that_were_changed_after_signing(by: Signatory, read: Read) -> None:
    data = bytearray(signed(made.saved("JPEG"), "image/jpeg", by, actions=[action(GENERATED)]))
    data[-100] ^= 1
    found = read("a.jpg", bytes(data))
    assert found is not None
    assert found.c2pa is not None
    assert (found.c2pa.state, found.c2pa.problem) == ("invalid", "assertion.dataHash.mismatch")
    assert not found.signed


def test_a_manifest_of_another_picture(by: Signatory, read: Read) -> None:
    whole = signed(made.jpeg(), "image/jpeg", by, actions=[action("digitalCapture")])
    plain = made.saved("JPEG", quality=40)
    moved = whole[: len(whole) - len(made.jpeg()) + 2] + plain[2:]
    found = read("a.jpg", moved)
    assert found is not None
    assert found.c2pa is not None
    assert found.c2pa.state in {"invalid", "unreadable"}
    assert not found.signed


def test_a_recording(camera: Signatory, read: Read) -> None:
    data = signed(made.jpeg(), "image/jpeg", camera, actions=[action("digitalCapture")])
    found = read("a.jpg", data)
    assert found is not None
    assert (found.declares, found.signed, found.generator) == ("captured", True, None)


def test_an_edited_picture_of_a_generator(by: Signatory, camera: Signatory, read: Read) -> None:
    parent = signed(made.jpeg(), "image/jpeg", by, actions=[action(GENERATED)])
    edited = signed(
        parent,
        "image/jpeg",
        camera,
        actions=[action(None, name="c2pa.opened", agent="Example Editor")],
        ingredients={"parentOf": parent},
    )
    found = read("a.jpg", edited)
    assert found is not None
    assert (found.declares, found.signed) == ("ai_generated", True)
    assert found.generator == "Example Model"


def test_a_file_made_from_one_that_was_changed(
    by: Signatory, camera: Signatory, read: Read
) -> None:
    parent = signed(made.jpeg(), "image/jpeg", by, actions=[action(GENERATED)])
    found = read("a.jpg", edited_from(parent[:-100] + b"x" + parent[-99:], camera))
    assert found is not None
    assert found.c2pa is not None
    assert (found.c2pa.state, found.declares, found.signed) == ("valid", "ai_generated", False)


def edited_from(parent: bytes, editor: Signatory) -> bytes:
    opened = action(None, name="c2pa.opened", agent="Example Editor")
    return signed(parent, "image/jpeg", editor, actions=[opened], ingredients={"parentOf": parent})


@pytest.mark.parametrize("both", [False, True])
def test_a_trusted_editor_vouches_for_nobody_else(
    by: Signatory, camera: Signatory, tmp_path: Path, *, both: bool
) -> None:
    trust = tmp_path / "trust.pem"
    trust.write_bytes(camera.root + (by.root if both else b""))
    parent = signed(made.jpeg(), "image/jpeg", by, actions=[action(GENERATED)])
    file = io.BytesIO(edited_from(parent, camera))
    facts, told = ManifestReader(trust).read(file, "jpeg")
    assert facts.state == "trusted"
    assert [e.declares for e in told.evidence] == ["ai_generated"]
    assert told.signed == ({"ai_generated"} if both else set())


def test_a_generated_part_in_a_recording(by: Signatory, camera: Signatory, read: Read) -> None:
    part = signed(made.jpeg(), "image/jpeg", by, actions=[action(GENERATED)])
    whole = signed(
        made.jpeg(),
        "image/jpeg",
        camera,
        actions=[action("digitalCapture")],
        ingredients={"componentOf": part},
    )
    found = read("a.jpg", whole)
    assert found is not None
    assert found.declares == "ai_edited"


def test_an_unsigned_label_beside_a_signed_recording(camera: Signatory, read: Read) -> None:
    stamped = made.jpeg_xmp(made.xmp(f'Iptc4xmpExt:DigitalSourceType="{GENERATED}"'))
    data = signed(stamped, "image/jpeg", camera, actions=[action("digitalCapture")])
    found = read("a.jpg", data)
    assert found is not None
    # The heavier statement counts, and that one is not the signed one.
    assert (found.declares, found.signed) == ("ai_generated", False)


def test_generative_fill(by: Signatory, read: Read) -> None:
    actions = [
        action("digitalCapture", agent="Example Camera"),
        action(EDITED, name="c2pa.edited", agent="Example Fill"),
    ]
    found = read("a.jpg", signed(made.jpeg(), "image/jpeg", by, actions=actions))
    assert found is not None
    assert (found.declares, found.signed) == ("ai_edited", True)
    assert found.generator == "Example Fill"


def test_a_manifest_that_is_too_large_is_not_checked(read: Read) -> None:
    found = read("a.png", made.png_chunk(b"caBX", bytes(5 * 1024 * 1024)))
    assert found is not None
    assert found.c2pa is not None
    assert found.c2pa.state == "not_checked"


def test_a_manifest_of_rubbish(read: Read) -> None:
    found = read("a.png", made.png_chunk(b"caBX", b"\0\0\0\x20jumb" + bytes(range(200))))
    assert found is not None
    assert found.c2pa is not None
    assert found.c2pa.state == "unreadable"


def test_a_manifest_of_more_than_a_mebibyte_is_no_skipped_metadata(
    by: Signatory, decode: Decode, tmp_path: Path
) -> None:
    whole = signed(made.jpeg(), "image/jpeg", by, actions=[action(GENERATED)])
    while len(whole) < 1_200_000:
        whole = edited_from(whole, by)
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    info = decode(path).info
    assert info.provenance is not None
    assert info.provenance.signed
    assert info.warnings == ()


def test_a_comment_that_mentions_manifests(read: Read, tmp_path: Path) -> None:
    path = made.sound_file(tmp_path / "b.mp3", "libmp3lame", {"comment": "application/c2pa"})
    assert b"application/c2pa" in path.read_bytes()
    found = read("a.mp3", path.read_bytes())
    assert found is None or found.c2pa is None
