import json

from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.core.sampling import AudioSampling, ImageSampling
from detection_worker.media import wire
from detection_worker.media.decode_order import DecodeOrder
from detection_worker.settings import MediaLimits

ORDER = DecodeOrder(
    suffix=".png", announced=None, image=ImageSampling(), video=None, audio=AudioSampling(),
    limits=MediaLimits(),
)  # fmt: skip
INFO: dict[str, object] = {
    "kind": "image", "container": "png", "codec": None, "size_bytes": 9, "sha256": "0" * 64,
    "width": 640, "height": 480, "duration_s": None, "frames_analysed": 1,
    "sample_rate_hz": None, "truncated": False, "warnings": [],
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(body=st.binary(max_size=100) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_header_is_parsed_or_refused(body: bytes) -> None:
    try:
        header = wire.parse_header(body)
    except wire.ProtocolError:
        return
    assert isinstance(header["type"], str)


@settings(deadline=None, max_examples=300)
@given(key=st.sampled_from(sorted([*INFO, "units", "frames"])), value=JSON)
def test_any_wrong_field_of_a_result_is_refused(key: str, value: object) -> None:
    header: dict[str, object] = {"info": {**INFO, key: value}, "units": 2, "frames": 1}
    if key in header:
        header[key] = value
    try:
        announced = wire.parse_done(header, ORDER)
    except wire.ProtocolError:
        return
    assert 1 <= announced.units <= 4
    assert announced.frames == 1
    assert all(text.isprintable() for text in announced.info.warnings)
    assert 1 <= (announced.info.width or 1) <= ORDER.limits.max_pixels


def test_an_order_survives_the_wire() -> None:
    packed = wire.pack_order(ORDER)

    assert wire.header_length(packed[:4]) == len(packed) - 4
    assert wire.parse_order(wire.parse_header(packed[4:])) == ORDER
