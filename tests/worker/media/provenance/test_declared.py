"""What files say of their making, laid out as their writers do, read through the jail."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from detection_testing.media import provenance_samples as made
from detection_worker.media.declarations import Provenance
from detection_worker.media.provenance.generators import credited
from detection_worker.media.values import DecodedMedia

MAKE, MODEL, SOFTWARE, DESCRIPTION = 0x010F, 0x0110, 0x0131, 0x010E
GENERATED = made.IPTC_TYPES + "trainedAlgorithmicMedia"
Decode = Callable[..., DecodedMedia]


@dataclass(frozen=True, kw_only=True)
class Says:
    declares: str | None = None
    generator: str | None = None
    camera: str | None = None
    software: str | None = None


def source_type(name: str) -> bytes:
    return made.xmp(f'Iptc4xmpExt:DigitalSourceType="{made.IPTC_TYPES}{name}"')


STILLS: dict[str, tuple[bytes, Says | None]] = {
    # The digital source type of IPTC, as attribute, element, resource and under its former name.
    "xmp-attribute.jpg": (
        made.jpeg_xmp(source_type("trainedAlgorithmicMedia")),
        Says(declares="ai_generated"),
    ),
    "xmp-element.jpg": (
        made.jpeg_xmp(
            made.xmp(
                "", f"<Iptc4xmpExt:DigitalSourceType>{GENERATED}</Iptc4xmpExt:DigitalSourceType>"
            )
        ),
        Says(declares="ai_generated"),
    ),
    "xmp-resource.jpg": (
        made.jpeg_xmp(
            made.xmp("", f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{GENERATED}"/>')
        ),
        Says(declares="ai_generated"),
    ),
    "xmp-bag.jpg": (
        made.jpeg_xmp(
            made.xmp(
                "",
                "<Iptc4xmpExt:DigitalSourceType><rdf:Bag><rdf:li>"
                f"{GENERATED}</rdf:li></rdf:Bag></Iptc4xmpExt:DigitalSourceType>",
            )
        ),
        Says(declares="ai_generated"),
    ),
    "xmp-former-name.jpg": (
        made.jpeg_xmp(made.xmp(f'Iptc4xmpExt:DigitalSourcefileType="{GENERATED}"')),
        Says(declares="ai_generated"),
    ),
    "xmp-https.jpg": (
        made.jpeg_xmp(
            made.xmp(
                'Iptc4xmpExt:DigitalSourceType="https://cv.iptc.org/newscodes/'
                'digitalsourcetype/TrainedAlgorithmicMedia/"'
            )
        ),
        Says(declares="ai_generated"),
    ),
    "xmp-code-only.jpg": (
        made.jpeg_xmp(made.xmp('Iptc4xmpExt:DigitalSourceType="trainedAlgorithmicMedia"')),
        Says(declares="ai_generated"),
    ),
    "xmp-qcode.jpg": (
        made.jpeg_xmp(
            made.xmp('Iptc4xmpExt:DigitalSourceType="digsrctype:trainedAlgorithmicMedia"')
        ),
        Says(declares="ai_generated"),
    ),
    "xmp-composite.jpg": (
        made.jpeg_xmp(source_type("compositeWithTrainedAlgorithmicMedia")),
        Says(declares="ai_edited"),
    ),
    "xmp-captured.jpg": (made.jpeg_xmp(source_type("digitalCapture")), Says(declares="captured")),
    "xmp-computational.jpg": (
        made.jpeg_xmp(source_type("computationalCapture")),
        Says(declares="captured"),
    ),
    "xmp-drawing.jpg": (made.jpeg_xmp(source_type("digitalCreation")), Says()),
    "xmp-algorithm.jpg": (made.jpeg_xmp(source_type("algorithmicMedia")), Says()),
    "xmp-extended.jpg": (
        made.jpeg_extended_xmp(source_type("trainedAlgorithmicMedia") + b" " * 70_000),
        Says(declares="ai_generated"),
    ),
    "xmp-other-prefix.jpg": (
        made.jpeg_xmp(
            source_type("trainedAlgorithmicMedia")
            .replace(b"Iptc4xmpExt:", b"q:")
            .replace(b"xmlns:Iptc4xmpExt", b"xmlns:q")
        ),
        Says(declares="ai_generated"),
    ),
    "xmp.png": (
        made.png(
            {"XML:com.adobe.xmp": source_type("trainedAlgorithmicMedia").decode()}, utf8=True
        ),
        Says(declares="ai_generated"),
    ),
    "xmp.webp": (
        made.saved("WEBP", xmp=source_type("trainedAlgorithmicMedia")),
        Says(declares="ai_generated"),
    ),
    **{
        f"xmp-{coding}.tif": (
            made.saved(
                "TIFF",
                tiffinfo={
                    700: f"{source_type('trainedAlgorithmicMedia').decode():2000}".encode(coding)
                },
            ),
            Says(declares="ai_generated"),
        )
        for coding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
    },
    "xmp.tif": (
        made.saved("TIFF", tiffinfo={700: source_type("trainedAlgorithmicMedia")}),
        Says(declares="ai_generated"),
    ),
    # Programs and histories.
    "xmp-firefly.jpg": (
        made.jpeg_xmp(made.xmp('xmp:CreatorTool="Adobe Firefly"')),
        Says(declares="ai_generated", generator="Adobe Firefly", software="Adobe Firefly"),
    ),
    "xmp-photoshop.jpg": (
        made.jpeg_xmp(made.xmp('xmp:CreatorTool="Adobe Photoshop 26.1 (Windows)"')),
        Says(software="Adobe Photoshop 26.1 (Windows)"),
    ),
    "xmp-history.jpg": (
        made.jpeg_xmp(
            made.xmp(
                "",
                "<xmpMM:History><rdf:Seq><rdf:li rdf:parseType='Resource'>"
                "<stEvt:softwareAgent>Midjourney</stEvt:softwareAgent></rdf:li>"
                "</rdf:Seq></xmpMM:History>",
            )
        ),
        Says(declares="ai_generated", generator="Midjourney"),
    ),
    "xmp-credit-google.jpg": (
        made.jpeg_xmp(made.xmp('photoshop:Credit="Made with Google AI"')),
        Says(declares="ai_generated"),
    ),
    "xmp-credit-edited.jpg": (
        made.jpeg_xmp(made.xmp('photoshop:Credit="Edited with Google AI"')),
        Says(declares="ai_edited"),
    ),
    "xmp-credit-agency.jpg": (
        made.jpeg_xmp(made.xmp('photoshop:Credit="AP Photo/Jane Doe"')),
        None,
    ),
    "xmp-ai-system.jpg": (
        made.jpeg_xmp(
            made.xmp(
                f'Iptc4xmpExt:DigitalSourceType="{GENERATED}" '
                'Iptc4xmpExt:AISystemUsed="Example Image 3"'
            )
        ),
        Says(declares="ai_generated", generator="Example Image 3"),
    ),
    "xmp-aigc.jpg": (
        made.jpeg_xmp(made.xmp("", f"<TC260:AIGC>{made.AIGC}</TC260:AIGC>")),
        Says(declares="ai_generated"),
    ),
    "xmp-draw-things.png": (
        made.png(
            {
                "XML:com.adobe.xmp": made.xmp(
                    "",
                    "<exif:UserComment><rdf:Alt><rdf:li xml:lang='x-default'>"
                    '{"c":"a fox","sampler":"Euler","seed":1,"steps":8,"scale":7}'
                    "</rdf:li></rdf:Alt></exif:UserComment>",
                ).decode()
            },
            utf8=True,
        ),
        Says(declares="ai_generated", generator="Draw Things"),
    ),
    "xmp-camera.jpg": (
        made.jpeg_xmp(made.xmp('tiff:Make="NIKON CORPORATION" tiff:Model="NIKON Z 8"')),
        Says(camera="NIKON Z 8"),
    ),
    # Text chunks of PNG.
    "webui.png": (
        made.png({"parameters": made.WEBUI}),
        Says(
            declares="ai_generated", generator="Stable Diffusion web UI v1.10.1 (model dreamlike)"
        ),
    ),
    "webui-compressed.png": (
        made.png({"parameters": made.WEBUI}, compressed=True),
        Says(
            declares="ai_generated", generator="Stable Diffusion web UI v1.10.1 (model dreamlike)"
        ),
    ),
    "webui-itxt.png": (
        made.png({"parameters": "狐 " + made.WEBUI}, utf8=True),
        Says(
            declares="ai_generated", generator="Stable Diffusion web UI v1.10.1 (model dreamlike)"
        ),
    ),
    "comfyui.png": (
        made.png({"prompt": made.COMFY_GRAPH, "workflow": made.COMFY_WORKFLOW}),
        Says(declares="ai_generated", generator="ComfyUI"),
    ),
    "comfyui-workflow.png": (
        made.png({"workflow": made.COMFY_WORKFLOW}),
        Says(declares="ai_generated", generator="ComfyUI"),
    ),
    "invokeai.png": (
        made.png({"invokeai_metadata": '{"app_version": "5.4.0"}'}),
        Says(declares="ai_generated", generator="InvokeAI"),
    ),
    "invokeai-old.png": (
        made.png({"sd-metadata": '{"app_id": "invoke-ai/InvokeAI"}'}),
        Says(declares="ai_generated", generator="InvokeAI"),
    ),
    "invokeai-dream.png": (
        made.png({"Dream": '"a fox" -s 50 -S 1 -W 512 -H 512 -C 7.5 -A k_lms'}),
        Says(declares="ai_generated", generator="InvokeAI"),
    ),
    "dream.png": (made.png({"Dream": "I had a dream", "Title": "Midjourney"}), None),
    "piano.png": (made.png({"Software": "Synthesia 10.9"}), Says(software="Synthesia 10.9")),
    "xmp-pantry.jpg": (
        made.jpeg_xmp(
            made.xmp(
                'xmp:CreatorTool="Adobe Premiere Pro"',
                "<xmpMM:Pantry><rdf:Bag><rdf:li><rdf:Description "
                f'xmp:CreatorTool="Midjourney" Iptc4xmpExt:DigitalSourceType="{GENERATED}">'
                "<tiff:Make>Canon</tiff:Make></rdf:Description></rdf:li></rdf:Bag></xmpMM:Pantry>"
                "<tiff:Model>R5</tiff:Model>",
            )
        ),
        Says(software="Adobe Premiere Pro", camera="R5"),
    ),
    "iptc-credit.png": (
        made.png({"Raw profile type iptc": made.iptc_profile("Edited with Google AI")}),
        Says(declares="ai_edited"),
    ),
    "novelai.png": (
        made.png(made.NOVELAI),
        Says(declares="ai_generated", generator="NovelAI", software="NovelAI"),
    ),
    "fooocus.png": (
        made.png(
            {
                "parameters": '{"base_model": "x", "metadata_scheme": "fooocus"}',
                "fooocus_scheme": "fooocus",
            }
        ),
        Says(declares="ai_generated", generator="Fooocus"),
    ),
    "swarmui.png": (
        made.png({"parameters": '{"sui_image_params": {"prompt": "a fox"}}'}),
        Says(declares="ai_generated", generator="SwarmUI"),
    ),
    "easy-diffusion.png": (
        made.png({"use_stable_diffusion_model": "sd-v1-5", "prompt": "a fox"}),
        Says(declares="ai_generated", generator="Easy Diffusion"),
    ),
    "midjourney.png": (
        made.png({"Description": "a fox --v 6.1 Job ID: 0a1b2c3d-0000-4000-8000-0123456789ab"}),
        Says(declares="ai_generated", generator="Midjourney"),
    ),
    "aigc.png": (made.png({"AIGC": made.AIGC}), Says(declares="ai_generated")),
    "aigc-suspected.png": (made.png({"AIGC": '{"Label": "3"}'}), None),
    "gimp.png": (
        made.png({"Software": "GIMP 2.10", "Comment": "Created with GIMP"}),
        Says(software="GIMP 2.10"),
    ),
    "screenshot.png": (
        made.png({"Software": "gnome-screenshot", "Creation Time": "now"}),
        Says(software="gnome-screenshot"),
    ),
    "description-only.png": (
        made.png({"Description": "A photo about Midjourney and ComfyUI"}),
        None,
    ),
    "imagemagick-exif.png": (
        made.png(
            {
                "Raw profile type exif": "\nexif\n    0\n"
                + made.exif({MAKE: "Canon", MODEL: "Canon EOS R5"}).hex()
            }
        ),
        Says(camera="Canon EOS R5"),
    ),
    "plain.png": (made.png({}), None),
    # EXIF.
    "exif-webui-utf16be.jpg": (
        made.saved(
            "JPEG", exif=made.exif({}, comment=b"UNICODE\0" + made.WEBUI.encode("utf-16-be"))
        ),
        Says(
            declares="ai_generated", generator="Stable Diffusion web UI v1.10.1 (model dreamlike)"
        ),
    ),
    "exif-webui-utf16le.jpg": (
        made.saved(
            "JPEG", exif=made.exif({}, comment=b"UNICODE\0" + made.WEBUI.encode("utf-16-le"))
        ),
        Says(
            declares="ai_generated", generator="Stable Diffusion web UI v1.10.1 (model dreamlike)"
        ),
    ),
    "exif-webui-ascii.webp": (
        made.saved("WEBP", exif=made.exif({}, comment=b"ASCII\0\0\0" + made.WEBUI.encode())),
        Says(
            declares="ai_generated", generator="Stable Diffusion web UI v1.10.1 (model dreamlike)"
        ),
    ),
    "exif-comfyui.webp": (
        made.saved(
            "WEBP",
            exif=made.exif(
                {MODEL: "prompt:" + made.COMFY_GRAPH, MAKE: "workflow:" + made.COMFY_WORKFLOW}
            ),
        ),
        Says(declares="ai_generated", generator="ComfyUI"),
    ),
    "exif-software.jpg": (
        made.saved("JPEG", exif=made.exif({SOFTWARE: "NovelAI"})),
        Says(declares="ai_generated", generator="NovelAI", software="NovelAI"),
    ),
    "exif-camera.jpg": (
        made.saved(
            "JPEG", exif=made.exif({MAKE: "Apple", MODEL: "iPhone 16 Pro", SOFTWARE: "18.1"})
        ),
        Says(camera="Apple iPhone 16 Pro", software="18.1"),
    ),
    "exif-description.jpg": (
        made.saved("JPEG", exif=made.exif({DESCRIPTION: "Steps: a walk, Sampler: none"})),
        None,
    ),
    "exif-aigc.jpg": (
        made.saved("JPEG", exif=made.exif({}, comment=b"ASCII\0\0\0AIGC" + made.AIGC.encode())),
        Says(declares="ai_generated"),
    ),
    "tags.tif": (
        made.saved("TIFF", tiffinfo={MAKE: "Canon", MODEL: "EOS 5D", SOFTWARE: "Capture One 23"}),
        Says(camera="Canon EOS 5D", software="Capture One 23"),
    ),
    **{
        f"exif-webui{'-big' * big}.tif": (
            made.saved(
                "TIFF",
                exif=made.exif({}, comment=b"UNICODE\0" + made.WEBUI.encode("utf-16-le")),
                big_tiff=big,
            ),
            Says(
                declares="ai_generated",
                generator="Stable Diffusion web UI v1.10.1 (model dreamlike)",
            ),
        )
        for big in (False, True)
    },
    "exif-utf8.jpg": (
        made.saved("JPEG", exif=made.exif({MAKE: "Zürich".encode(), MODEL: b"Caf\xe9 1"})),
        Says(camera="Zürich Café 1"),
    ),
    "tags-utf8.tif": (
        made.saved("TIFF", tiffinfo={SOFTWARE: "Größe 2".encode()}),
        Says(software="Größe 2"),
    ),
    # IPTC-IIM.
    "iptc-credit.jpg": (
        made.jpeg_iptc({(2, 80): "someone", (2, 110): "Made with Google AI"}),
        Says(declares="ai_generated"),
    ),
    "iptc-program.jpg": (
        made.jpeg_iptc({(2, 65): "Adobe Firefly", (2, 70): "1"}),
        Says(declares="ai_generated", generator="Adobe Firefly", software="Adobe Firefly"),
    ),
    "iptc-agency.jpg": (
        made.jpeg_iptc({(2, 110): "Reuters", (2, 65): "Photo Mechanic"}),
        Says(software="Photo Mechanic"),
    ),
    "comment-webui.jpg": (
        made.jpeg((0xFE, made.WEBUI.encode())),
        Says(
            declares="ai_generated", generator="Stable Diffusion web UI v1.10.1 (model dreamlike)"
        ),
    ),
    "plain.jpg": (made.jpeg(), None),
    "plain.bmp": (made.saved("BMP"), None),
}


def brief(found: Provenance | None) -> Says | None:
    if found is None:
        return None
    return Says(
        declares=found.declares,
        generator=found.generator,
        camera=found.camera,
        software=found.software,
    )


@pytest.mark.parametrize("name", STILLS)
def test_a_still_says_how_it_was_made(name: str, decode: Decode, tmp_path: Path) -> None:
    data, expected = STILLS[name]
    path = tmp_path / name
    path.write_bytes(data)
    found = decode(path).info.provenance
    assert brief(found) == expected
    if expected is not None and expected.declares:
        assert found is not None
        assert any(e.declares == expected.declares and e.value for e in found.evidence)
        assert not found.signed


STREAMS: dict[str, tuple[Callable[[Path], Path], Says | None]] = {
    "comfyui.mp4": (
        lambda p: made.video_file(
            p, {"prompt": made.COMFY_GRAPH}, options={"movflags": "use_metadata_tags"}
        ),
        Says(declares="ai_generated", generator="ComfyUI", software="Lavf"),
    ),
    "vhs.mp4": (
        lambda p: made.video_file(
            p,
            {"comment": f'{{"prompt": {made.COMFY_GRAPH}, "workflow": {made.COMFY_WORKFLOW}}}'},
        ),
        Says(declares="ai_generated", generator="ComfyUI", software="Lavf"),
    ),
    "aigc.mp4": (
        lambda p: made.video_file(
            p, {"AIGC": made.AIGC}, options={"movflags": "use_metadata_tags"}
        ),
        Says(declares="ai_generated", software="Lavf"),
    ),
    "phone.mov": (
        lambda p: made.video_file(
            p,
            {
                "com.apple.quicktime.make": "Apple",
                "com.apple.quicktime.model": "iPhone 16",
                "com.apple.quicktime.software": "18.1",
            },
            options={"movflags": "use_metadata_tags"},
        ),
        Says(camera="Apple iPhone 16", software="18.1"),
    ),
    "xmp.mp4": (
        lambda p: made.with_box(
            made.video_file(p, {}),
            "be7acfcb97a942e89c71999491e3afac",
            source_type("trainedAlgorithmicMedia"),
        ),
        Says(declares="ai_generated", software="Lavf"),
    ),
    "xmp.mov": (
        lambda p: made.with_xmp_in_user_data(
            made.video_file(p, {}), source_type("trainedAlgorithmicMedia")
        ),
        Says(declares="ai_generated", software="Lavf"),
    ),
    "comfyui.mkv": (
        lambda p: made.video_file(p, {"PROMPT": made.COMFY_GRAPH}),
        Says(declares="ai_generated", generator="ComfyUI", software="Lavf"),
    ),
    "plain.mp4": (lambda p: made.video_file(p, {}), Says(software="Lavf")),
    "suno.mp3": (
        lambda p: made.sound_file(
            p, "libmp3lame", {"comment": "made with suno; created=2026-01-01T00:00:00Z; id=1"}
        ),
        Says(declares="ai_generated", software="Lavf"),
    ),
    "elevenlabs.mp3": (
        lambda p: made.sound_file(p, "libmp3lame", {"encoded_by": "ElevenLabs"}),
        Says(declares="ai_generated", generator="ElevenLabs", software="ElevenLabs"),
    ),
    "comfyui.flac": (
        lambda p: made.sound_file(p, "flac", {"prompt": made.COMFY_GRAPH}),
        Says(declares="ai_generated", generator="ComfyUI", software="Lavf"),
    ),
    "aigc.ogg": (
        lambda p: made.sound_file(p, "libopus", {"AIGC": made.AIGC}),
        Says(declares="ai_generated", software="Lavf"),
    ),
    "info.wav": (
        lambda p: made.sound_file(p, "pcm_s16le", {"encoder": "Stable Audio"}),
        Says(software="Lavf"),
    ),
    "song.mp3": (
        lambda p: made.sound_file(p, "libmp3lame", {"title": "Midjourney", "artist": "A band"}),
        Says(declares=None, software="Lavf"),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_says_how_it_was_made(name: str, decode: Decode, tmp_path: Path) -> None:
    write, expected = STREAMS[name]
    found = brief(decode(write(tmp_path / name)).info.provenance)
    if found is not None and found.software and found.software.startswith("Lavf"):
        found = Says(
            declares=found.declares,
            generator=found.generator,
            camera=found.camera,
            software="Lavf",
        )
    assert found == expected


@pytest.mark.parametrize(
    ("text", "declares"),
    [
        ("Made with Google AI", "ai_generated"),
        ("Edited with Google AI.", "ai_edited"),
        ("AI generated", "ai_generated"),
        ("AI-generated image of a fox", "ai_generated"),
        ("AI generated with Example", "ai_generated"),
        ("made with suno; created=2026", "ai_generated"),
        ("Made with Aiseesoft Video Converter", None),
        ("Made with AirDrop", None),
        ("Edited with Airbrush", None),
        ("Made with Sunology", None),
        ("Made with AI-free tools", None),
        ("AI generated captions, recorded on stage", None),
        ("AI-generated music detection set: a real recording", None),
    ],
)
def test_a_credit_ends_where_a_word_does(text: str, declares: str | None) -> None:
    assert credited(text) == declares
