"""Names and layouts by which generators of media are known.

Facts, each from the program's own output or documentation: AUTOMATIC1111 and its forks write
``parameters``, ComfyUI its graph, InvokeAI, NovelAI, Fooocus, SwarmUI, Easy Diffusion and Draw
Things their settings; Google's and Meta's pictures carry IPTC's credit line; GB 45438-2025 (China)
asks for a label named ``AIGC``.
"""

import json
import re
from typing import Final

from detection_worker.media.declarations import Declared, printable

PROGRAMS: Final = (
    "Stable Diffusion", "NovelAI", "Midjourney", "DALL-E", "DALL·E", "Adobe Firefly",
    "Draw Things", "InvokeAI", "ComfyUI", "Fooocus", "SwarmUI", "SD.Next", "Easy Diffusion",
    "DreamStudio", "Leonardo.Ai", "Bing Image Creator", "gpt-image", "OpenAI Sora", "Google Veo",
    "Google Imagen", "Suno", "ElevenLabs", "RunwayML", "Kling AI", "HeyGen",
    "Stable Audio", "Seedream",
)  # fmt: skip
"""Programs and models whose output is made by AI, as they spell themselves. Names that other
programs have too (Imagen, Gemini, Runway, Sora, Synthesia) are left out: a wrong claim is worse
than none."""
_PROGRAM: Final = re.compile(
    r"(?<![\w.-])(" + "|".join(re.escape(name) for name in PROGRAMS) + r")(?![\w-])", re.IGNORECASE
)
_WEBUI: Final = re.compile(r"Steps: \d{1,6}, .{0,1000}\b(?:Sampler|CFG scale|Seed): ", re.DOTALL)
_WEBUI_VERSION: Final = re.compile(r"\bVersion: ([^,\n]{1,60})")
_WEBUI_MODEL: Final = re.compile(r"\bModel: ([^,\n]{1,100})")
_MIDJOURNEY: Final = re.compile(r"\bJob ID: [0-9a-f]{8}-[0-9a-f-]{27}\b")
_CREDITS: Final[tuple[tuple[str, Declared], ...]] = (
    ("made with google ai", "ai_generated"),
    ("edited with google ai", "ai_edited"),
    ("made with ai", "ai_generated"),
    ("edited with ai", "ai_edited"),
    ("ai generated", "ai_generated"),
    ("ai-generated", "ai_generated"),
    ("made with suno", "ai_generated"),
)
_CREDIT_END: Final = re.compile(
    r"\s*(?:$|[.,;:!|()\[\]\n]|(?:by|with|using)\b|(?:image|picture|photo|video|song|music|audio|content|art|artwork)"
    r"\s*(?:$|[.,;:!|()\[\]\n]|(?:of|by|with|from|using)\b))"
)
"""What follows a credit. "Made with AirDrop" and "AI-generated captions" are none."""
_DREAM: Final = re.compile(r"(?:^|\s)(?:-s|-S|-W|-C|--steps|--seed)\s*\d")
MAX_JSON_CHARS: Final = 1024 * 1024


def known_program(text: str) -> str | None:
    """Return the generator that the name of a program contains, as ``PROGRAMS`` spells it."""
    found = _PROGRAM.search(text[:1000])
    if found is None:
        return None
    return next(name for name in PROGRAMS if name.lower() == found[1].lower())


def credited(text: str) -> Declared | None:
    """Return what a credit line or comment declares; only its start is looked at."""
    start = text.strip()[:80].lower()
    found = next(((p, declares) for p, declares in _CREDITS if start.startswith(p)), None)
    if found is None or not _CREDIT_END.match(start, len(found[0])):
        return None
    return found[1]


def generator_of(key: str, text: str) -> str | None:
    """Return the generator whose way of writing its settings ``text`` has.

    Args:
        key: Name of the field, as ``parameters``.
        text: Its value.
    """
    name = key.strip().lower()
    if (known := _KEYS.get(name)) is not None:
        return known
    if name == "sd-metadata" and "invoke" in text[:20_000].lower():
        return "InvokeAI"
    if name == "dream" and _DREAM.search(text[-2000:]):
        return "InvokeAI"
    if name == "description" and _MIDJOURNEY.search(text[-2000:]):
        return "Midjourney"
    return _webui(text) or _by_json(text)


_KEYS: Final = {
    "invokeai_metadata": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "use_stable_diffusion_model": "Easy Diffusion",
}
"""Names of fields that one program alone writes."""


def _webui(text: str) -> str | None:
    """Return the generator that writes a last line of settings, as ``Steps: 20, Sampler: …``."""
    # From the last one alone: a search from each would take the square of the time.
    settings = text[max(text.rfind("\nSteps: "), 0) :].lstrip()[:10_000]
    if not _WEBUI.match(settings):
        return None
    model, version = _WEBUI_MODEL.search(settings), _WEBUI_VERSION.search(settings)
    named = f"Stable Diffusion web UI {version[1].strip()}" if version else "Stable Diffusion"
    return printable(f"{named} (model {model[1].strip()})" if model else named, 120)


def _by_json(text: str) -> str | None:
    stripped = text[:MAX_JSON_CHARS].strip()
    for prefix in ("prompt:", "workflow:"):  # ComfyUI in tags of EXIF
        stripped = stripped.removeprefix(prefix)
    if not stripped.startswith("{") or len(text) > MAX_JSON_CHARS:
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return _by_layout(value) if isinstance(value, dict) else None


def _by_layout(value: dict[str, object]) -> str | None:
    keys = value.keys()
    for program, layout in _LAYOUTS.items():
        if layout <= keys:
            return program
    if _is_graph(value.get("prompt")) or _is_graph(value):
        return "ComfyUI"
    workflow = value.get("workflow")
    return _by_layout(workflow) if isinstance(workflow, dict) else None


_LAYOUTS: Final = {
    "SwarmUI": {"sui_image_params"},
    "Draw Things": {"c", "sampler", "seed", "steps"},
    "NovelAI": {"signed_hash", "sampler"},
    "Fooocus": {"base_model", "metadata_scheme"},
    "ComfyUI": {"nodes", "links", "last_node_id"},
}
"""Fields of a JSON object that tell its writer."""


def _is_graph(value: object) -> bool:
    """Return whether this is ComfyUI's graph: nodes by number, each with a class."""
    if not isinstance(value, dict) or not value:
        return False
    nodes = list(value.values())[:5]
    return all(isinstance(n, dict) and "class_type" in n and "inputs" in n for n in nodes)


def labelled(text: str) -> Declared | None:
    """Return what a label ``AIGC`` (GB 45438-2025) declares: 1 is, 2 may be, 3 looks made by AI.

    Only the first is a declaration of the maker; the others are a platform's guess.
    """
    try:
        value = json.loads(text[:10_000])
    except (ValueError, RecursionError):
        return None
    label = value.get("Label") if isinstance(value, dict) else None
    return "ai_generated" if str(label) == "1" else None
