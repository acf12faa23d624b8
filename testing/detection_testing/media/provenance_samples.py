"""Small files that say how they were made, laid out as their writers do."""

import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, PngImagePlugin

IPTC_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
XMP_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
XMP_NAMESPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    }.items()
)
WEBUI = (
    "a red fox in the snow\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
    "Seed: 42, Size: 64x64, Model hash: abcdef0123, Model: dreamlike, Version: v1.10.1"
)
COMFY_GRAPH = json.dumps(
    {
        "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20}},
        "4": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "flux1.safetensors"},
        },
    }
)
COMFY_WORKFLOW = json.dumps({"last_node_id": 9, "nodes": [], "links": [], "version": 0.4})
NOVELAI = {
    "Title": "NovelAI generated image",
    "Description": "1girl, best quality",
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V4 37442FCA",
    "Comment": json.dumps(
        {"prompt": "1girl", "steps": 28, "sampler": "k_euler", "signed_hash": "x"}
    ),
}
AIGC = json.dumps({"Label": "1", "ContentProducer": "Example", "ProduceID": "7"})


def xmp(attributes: str = "", elements: str = "") -> bytes:
    """Return an XMP packet with one description."""
    return (
        f'{XMP_HEAD}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999'
        f'/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" {XMP_NAMESPACES} {attributes}>'
        f'{elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def picture() -> Image.Image:
    """Return a picture that no decoder takes for an empty one."""
    grid = np.mgrid[0:64, 0:96]
    pixels = np.stack([grid[0] * 4, grid[1] * 2, (grid[0] * grid[1]) % 256], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def exif(fields: Mapping[int, str | bytes], *, comment: bytes | None = None) -> bytes:
    """Return an EXIF block with fields of the first directory and a UserComment."""
    block = Image.Exif()
    for tag, value in fields.items():
        block[tag] = value
    if comment is not None:
        block.get_ifd(0x8769)[0x9286] = comment
    return block.tobytes()


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with application segments behind its start."""
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG", quality=90)
    plain = buffer.getvalue()
    parts = [bytes((0xFF, m)) + struct.pack(">H", len(d) + 2) + d for m, d in segments]
    return plain[:2] + b"".join(parts) + plain[2:]


def jpeg_xmp(packet: bytes) -> bytes:
    """Return a JPEG with an XMP packet."""
    return jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))


def jpeg_extended_xmp(packet: bytes, *, part_bytes: int = 60_000) -> bytes:
    """Return a JPEG whose XMP is spread over extended segments (XMP part 3)."""
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    parts = range(0, len(packet), part_bytes)
    return jpeg(
        *(
            (0xE1, head + struct.pack(">II", len(packet), at) + packet[at : at + part_bytes])
            for at in parts
        )
    )


def jpeg_iptc(datasets: Mapping[tuple[int, int], str]) -> bytes:
    """Return a JPEG with IPTC-IIM inside of Photoshop's resources."""
    iim = b"".join(
        struct.pack(">BBBH", 0x1C, record, number, len(value.encode())) + value.encode()
        for (record, number), value in datasets.items()
    )
    resource = b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", len(iim)) + iim
    return jpeg((0xED, b"Photoshop 3.0\0" + resource + b"\0" * (len(iim) % 2)))


def iptc_profile(credit: str) -> str:
    """Return a credit line as programs lay it out in a PNG's text ``Raw profile type iptc``."""
    value = credit.encode()
    iim = struct.pack(">BBBH", 0x1C, 2, 110, len(value)) + value
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim
    return f"\nIPTC profile\n{len(block):8}\n{block.hex()}\n"


def png(texts: Mapping[str, str], *, compressed: bool = False, utf8: bool = False) -> bytes:
    """Return a PNG with text chunks."""
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        if utf8:
            info.add_itxt(key, value, zip=compressed)
        else:
            info.add_text(key, value, zip=compressed)
    buffer = io.BytesIO()
    picture().save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Return a PNG with a chunk behind its header."""
    plain = png({})
    crc = zlib.crc32(name + data)
    return (
        plain[:33]
        + struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", crc)
        + plain[33:]
    )


def saved(form: str, **options: object) -> bytes:
    """Return the picture as Pillow saves it."""
    buffer = io.BytesIO()
    picture().save(buffer, form, **options)
    return buffer.getvalue()


def sound_file(path: Path, codec: str, tags: Mapping[str, str]) -> Path:
    """Write two seconds of a tone with tags; the container follows the name."""
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(codec, rate=48_000, layout="mono")
        container.metadata.update(tags)
        if path.suffix == ".ogg":
            stream.metadata.update(tags)
        tone = np.sin(np.arange(96_000) / 20) * 0.4
        frame = av.AudioFrame.from_ndarray(
            (tone * 32_767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout="mono", rate=48_000,
            frame_size=stream.codec_context.frame_size or None,
        )  # fmt: skip
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def video_file(
    path: Path, tags: Mapping[str, str], *, options: Mapping[str, str] | None = None
) -> Path:
    """Write a second of moving pictures with tags; the container follows the name."""
    with av.open(path, "w", options=dict(options or {})) as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.metadata.update(tags)
        for shift in range(10):
            pixels = np.roll(np.asarray(picture()), shift * 5, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def with_box(path: Path, uuid: str, data: bytes) -> Path:
    """Append a ``uuid`` box to an MP4."""
    body = bytes.fromhex(uuid) + data
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", len(body) + 8, b"uuid") + body)
    return path


def with_xmp_in_user_data(path: Path, packet: bytes) -> Path:
    """Append XMP to a MOV where QuickTime keeps it: in the user data of a ``moov`` at its end."""
    data = path.read_bytes()
    at = data.rindex(b"moov") - 4
    (length,) = struct.unpack_from(">I", data, at)
    box = struct.pack(">I4s", len(packet) + 8, b"XMP_") + packet
    box = struct.pack(">I4s", len(box) + 12, b"udta") + box + bytes(4)
    moov = struct.pack(">I", length + len(box)) + data[at + 4 :] + box
    path.write_bytes(data[:at] + moov)
    return path
