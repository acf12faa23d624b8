"""Whose voice is used for what, and clips of real and of made speech."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from detection_training.audio.making.vocoders import RESYNTHESES, Flite
from detection_training.audio.sound import (
    CHANNELS,
    RATE_HZ,
    Samples,
    levelled,
    read_sound,
    trimmed,
)
from detection_training.pipeline.sources import Log
from detection_training.pipeline.splits import Split

CLIP_S: Final = (2.5, 5.0)
"""Shortest and longest clip; drawn alike for both classes."""
PAUSE_S: Final = 0.15
"""Between the utterances that a clip is joined from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Files of one speaker, or of a few that no other split has.

    Attributes:
        source: Name of the package.
        pattern: Of the files inside the unpacked package.
        split: What they may be used for.
    """

    source: str
    pattern: str
    split: Split


VOICES: Final = (
    Voice(source="asterisk-core-sounds-es-g722", pattern="**/*.g722", split=Split.TRAIN),
    Voice(source="asterisk-core-sounds-fr-g722", pattern="**/*.g722", split=Split.TRAIN),
    Voice(source="fillets-ng-data-cs", pattern="**/*-m-*.ogg", split=Split.TRAIN),
    Voice(source="fillets-ng-data-cs", pattern="**/*-v-*.ogg", split=Split.TRAIN),
    Voice(source="asterisk-core-sounds-it-g722", pattern="**/*.g722", split=Split.DEV),
    Voice(source="fillets-ng-data-nl", pattern="**/*-m-*.ogg", split=Split.DEV),
    Voice(source="asterisk-core-sounds-en-g722", pattern="**/*.g722", split=Split.TEST),
    Voice(source="asterisk-core-sounds-ru-g722", pattern="**/*.g722", split=Split.TEST),
    Voice(source="fillets-ng-data-nl", pattern="**/*-v-*.ogg", split=Split.TEST),
)

SPOKEN: Final[Mapping[Split, tuple[str, ...]]] = {
    Split.TRAIN: ("kal16", "awb"),
    Split.DEV: ("kal16", "awb"),
    Split.TEST: ("slt", "rms"),
}
"""Voices of flite. Those of the test are of a kind that training has one other voice of."""
RESYNTHESISED: Final[Mapping[Split, tuple[str, ...]]] = {
    Split.TRAIN: ("griffin-lim", "source-filter"),
    Split.DEV: ("griffin-lim", "source-filter"),
    Split.TEST: ("griffin-lim", "source-filter", "pitch-shift"),
}
SENTENCES: Final[Mapping[Split, tuple[str, ...]]] = {
    Split.TRAIN: (
        "The train to the coast leaves at seven from the second platform.",
        "Please put the blue cups back on the upper shelf.",
        "Our neighbours painted their fence green last weekend.",
        "Nobody had noticed that the window was still open.",
        "A cold wind blew over the empty fields all night.",
        "She counted eleven boats in the small harbour.",
        "The recipe asks for flour, three eggs and a little salt.",
        "Turn left behind the bridge and follow the river.",
        "He read the letter twice before he answered.",
        "Yesterday the museum was closed because of the storm.",
        "My brother repairs old clocks in his free time.",
        "The children built a tower of wooden blocks.",
        "There is fresh bread in the basket near the door.",
        "We should water the plants before we go on holiday.",
        "The doctor asked her to come back on Thursday.",
        "Two grey cats were sleeping under the table.",
        "This road was much quieter twenty years ago.",
        "The orchestra played until the lights went out.",
        "I left my umbrella in the library again.",
        "A tall man in a brown coat asked for the way.",
    ),
    Split.DEV: (
        "The lamp in the hall needs a new bulb.",
        "They walked along the beach and collected shells.",
        "Every autumn the birds gather on this roof.",
        "Could you tell me when the post office opens?",
        "The soup was hot and tasted of ginger.",
        "An old map of the valley hung above the desk.",
        "Six students were waiting in front of the room.",
        "The ferry was late because of the thick fog.",
    ),
    Split.TEST: (
        "The gardener planted roses along the northern wall.",
        "It took them an hour to find the right key.",
        "Snow had covered the village by the morning.",
        "The baker sold his last loaf before noon.",
        "You can see the mountains from the kitchen.",
        "A small dog followed us all the way home.",
        "The meeting was moved to the end of the month.",
        "Her grandmother taught her to play chess.",
        "The bus stopped in the middle of the road.",
        "We heard music from the house across the street.",
        "They exchanged the broken chair for a new one.",
        "The lake is deep enough for swimming in June.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """One piece of speech.

    Attributes:
        sound: Mono at ``RATE_HZ``, after its channel.
        fake: Whether it was made.
        family: ``real`` or how it was made.
        speaker: Voice whose speech it is or was made from.
        channel: Key of ``CHANNELS``.
    """

    sound: Samples
    fake: bool
    family: str
    speaker: str
    channel: str


def utterances(
    folders: Mapping[str, Path], split: Split, *, per_voice: int, rng: np.random.Generator
) -> dict[str, list[Samples]]:
    """Return joined, trimmed utterances of each voice of a split that was fetched."""
    found: dict[str, list[Samples]] = {}
    for voice in VOICES:
        if voice.split is not split or voice.source not in folders:
            continue
        files = sorted(folders[voice.source].glob(voice.pattern))
        if files:
            order = [files[i] for i in rng.permutation(len(files))]
            name = f"{voice.source} {voice.pattern.removeprefix('**/')}"
            found[name] = list(_joined(order, count=per_voice, rng=rng))
    return found


def build_clips(
    folders: Mapping[str, Path], split: Split, *, per_voice: int, seed: int, log: Log
) -> list[Clip]:
    """Return clips of a split: every utterance as it is and by every family of the split.

    All pass the same channels; synthesised sentences first pass the codec that the real speech of
    its packages was stored with, so that no codec belongs to one class.

    Args:
        folders: Unpacked packages by name.
        split: Which voices, sentences and families.
        per_voice: Utterances of each voice.
        seed: Of every choice.
        log: Takes progress lines.
    """
    rng = np.random.default_rng(seed)
    clips: list[Clip] = []
    voices = utterances(folders, split, per_voice=per_voice, rng=rng)
    for speaker, sounds in voices.items():
        for sound in sounds:
            clips.append(_clip(sound, family="real", speaker=speaker, rng=rng))
            for family in RESYNTHESISED[split]:
                made = RESYNTHESES[family](sound, rng)
                clips.append(_clip(made, family=family, speaker=speaker, rng=rng))
        log(f"  {split}: {speaker}: {len(sounds)} utterances")
    if voices and {"flite", "libflite1"} <= folders.keys():
        flite = Flite(folders["flite"], folders["libflite1"])
        try:
            clips += _spoken(flite, split, count=len(voices) * per_voice // 2, rng=rng)
        except ValueError as exc:
            log(f"  {exc}; its voices are left out")
    return clips


def _spoken(flite: Flite, split: Split, *, count: int, rng: np.random.Generator) -> list[Clip]:
    said = {
        voice: [trimmed(flite.say(text, voice=voice)) for text in SENTENCES[split]]
        for voice in SPOKEN[split]
    }
    stored = (CHANNELS["g722"], CHANNELS["clean"])
    clips = []
    for i in range(count):
        voice = SPOKEN[split][i % len(SPOKEN[split])]
        order = rng.permutation(len(said[voice]))
        sound = _join([said[voice][int(j)] for j in order], longest_s=_length_s(rng))
        sound = stored[int(rng.integers(len(stored)))](sound, rng)
        clips.append(_clip(sound, family=f"flite-{voice}", speaker=f"flite-{voice}", rng=rng))
    return clips


def _clip(sound: Samples, *, family: str, speaker: str, rng: np.random.Generator) -> Clip:
    names = list(CHANNELS)
    channel = names[int(rng.integers(len(names)))]
    passed = CHANNELS[channel](levelled(sound, peak=float(rng.uniform(0.2, 0.95))), rng)
    return Clip(
        sound=passed, fake=family != "real", family=family, speaker=speaker, channel=channel
    )


def _joined(files: Sequence[Path], *, count: int, rng: np.random.Generator) -> Iterator[Samples]:
    pending: list[Samples] = []
    made = 0
    wanted_s = _length_s(rng)
    for path in files:
        try:
            sound = trimmed(read_sound(path))
        except ValueError:
            continue
        if len(sound) < RATE_HZ // 3:
            continue
        pending.append(levelled(sound, peak=0.8))
        if sum(map(len, pending)) >= wanted_s * RATE_HZ:
            yield _join(pending, longest_s=wanted_s)
            made += 1
            pending, wanted_s = [], _length_s(rng)
        if made == count:
            return


def _length_s(rng: np.random.Generator) -> float:
    return float(rng.uniform(*CLIP_S))


def _join(sounds: Sequence[Samples], *, longest_s: float) -> Samples:
    pause = np.zeros(int(PAUSE_S * RATE_HZ), np.float32)
    joined = np.concatenate([part for sound in sounds for part in (sound, pause)])
    return joined[: int(longest_s * RATE_HZ)]
