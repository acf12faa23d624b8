import gzip
from pathlib import Path

import numpy as np
import pytest

from detection_training.audio.dataset import (
    REAL,
    ClipRow,
    digest_of,
    join_shards,
    packed_table,
    quantised,
    read_clips,
    read_shard,
    read_table,
    table_text,
    write_shard,
)
from detection_training.audio.sound import Samples
from detection_training.pipeline.splits import Split


def clip(level: float, *, split: Split = Split.TRAIN, length: int = 50) -> tuple[ClipRow, Samples]:
    sound = np.linspace(-level, level, length, dtype=np.float32)
    row = ClipRow(
        split=split,
        family=REAL if level < 0.5 else "world",
        speaker='a "b", c',
        language="fr",
        source="some-speech",
        storage="g722",
        channel="clean",
        samples=length,
        sha256=digest_of(quantised(sound)),
    )
    return row, sound


def shard(path: Path, *clips: tuple[ClipRow, Samples]) -> Path:
    write_shard(path, [row for row, _ in clips], [quantised(sound) for _, sound in clips])
    return path


def test_a_table_is_read_as_it_was_written() -> None:
    rows = [clip(0.1)[0], clip(0.9, split=Split.TEST)[0]]

    assert read_table(table_text(rows)) == rows
    assert [row.fake for row in rows] == [False, True]


def test_a_shard_gives_back_every_sound(tmp_path: Path) -> None:
    clips = [clip(0.1), clip(0.7, length=9)]

    found = read_shard(shard(tmp_path / "a.npz", *clips))

    assert found.rows == tuple(row for row, _ in clips)
    for i, (_, sound) in enumerate(clips):
        assert found.sound(i) == pytest.approx(sound, abs=1e-4)


def test_joined_shards_are_parted_by_split_and_hold_no_clip_twice(tmp_path: Path) -> None:
    one, other = clip(0.1), clip(0.7, split=Split.TEST, length=7)
    paths = [shard(tmp_path / "a.npz", one, other), shard(tmp_path / "b.npz", one)]

    join_shards(paths, tmp_path)

    train, test = read_clips(tmp_path, Split.TRAIN), read_clips(tmp_path, Split.TEST)
    assert (train.rows, test.rows) == ((one[0],), (other[0],))
    assert digest_of(quantised(test.sound(0))) != one[0].sha256
    assert test.sound(0) == pytest.approx(other[1], abs=1e-4)
    assert len(read_clips(tmp_path, Split.DEV)) == 0


def test_the_packed_table_is_the_same_whenever_it_is_made() -> None:
    rows = [clip(0.1)[0]]

    packed = packed_table(rows)

    assert packed == packed_table(rows)
    assert read_table(gzip.decompress(packed).decode()) == rows
