"""Real speech of the full preset: whose files, in which language, and what they may be used for.

A language is in one split only. That keeps speakers apart even where the same volunteer recorded
for two packages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_training.pipeline.splits import Split

LANGUAGES: Final[Mapping[Split, tuple[str, ...]]] = {
    Split.TRAIN: ("ar", "ca", "cs", "da", "de", "es", "fr", "gl", "nb", "nn", "ro", "sl", "wa"),
    Split.DEV: ("be", "hu", "it", "lt"),
    Split.TEST: ("bg", "el", "en", "he", "ml", "nds", "nl", "pt_BR", "ru", "uk"),
}
PROMPTS: Final[Mapping[str, str]] = {
    "asterisk-core-sounds-en-g722": "en",
    "asterisk-core-sounds-es-g722": "es",
    "asterisk-core-sounds-fr-g722": "fr",
    "asterisk-core-sounds-it-g722": "it",
    "asterisk-core-sounds-ru-g722": "ru",
    "asterisk-prompt-es-co": "es",
    "asterisk-prompt-fr-armelle": "fr",
    "asterisk-prompt-it-menardi-wav": "it",
}
"""Packages of one speaker each."""
GAME_ROLES: Final = ("m", "v", "hs", "c", "x", "4", "0", "3")
"""Actors that the names of the game's dialogues tell apart; -ng- and -pap- are effects."""
SUFFIXES: Final = frozenset({".g722", ".ogg", ".wav", ".gsm", ".opus"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Files of one speaker, as far as names tell.

    Attributes:
        name: Unique.
        source: Package.
        language: Code of ``LANGUAGES``.
        split: Where that language belongs.
        files: Sorted by name; at least one.
    """

    name: str
    source: str
    language: str
    split: Split
    files: tuple[Path, ...]


def split_of(language: str) -> Split | None:
    """Return the split of a language, None if it is not used."""
    return next((s for s, known in LANGUAGES.items() if language in known), None)


def voices(folders: Mapping[str, Path]) -> list[Voice]:
    """Return every voice of the packages at hand, by name."""
    found: list[Voice] = []
    for source, language in PROMPTS.items():
        found += _voice(folders, source, language=language, pattern="**/*")
    for language in sorted({x for known in LANGUAGES.values() for x in known}):
        for role in GAME_ROLES:
            found += _voice(
                folders,
                f"fillets-ng-data-{language}",
                language=language,
                pattern=f"**/*-{role}-*.ogg",
                part=f"-{role}",
            )
        for source, pattern in (
            ("klettres-data", f"**/klettres/{language}/*/*"),
            ("ktuberling-data", f"**/sounds/{language}/*"),
            ("tuxpaint-stamps-default", f"**/*_desc_{language}.ogg"),
        ):
            found += _voice(
                folders, source, language=language, pattern=pattern, part=f"-{language}"
            )
    return sorted(found, key=lambda voice: voice.name)


def _voice(
    folders: Mapping[str, Path], source: str, *, language: str, pattern: str, part: str = ""
) -> list[Voice]:
    split = split_of(language)
    if source not in folders or split is None:
        return []
    files = tuple(
        sorted(p for p in folders[source].glob(pattern) if p.suffix in SUFFIXES and p.is_file())
    )
    if not files:
        return []
    return [Voice(name=source + part, source=source, language=language, split=split, files=files)]
