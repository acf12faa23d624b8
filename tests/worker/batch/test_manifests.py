"""Manifests: CSV, JSON Lines and S3 Inventory, with odd keys and damaged rows."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from detection_worker.batch.files import Files
from detection_worker.batch.manifests import ManifestSource, Unreadable
from detection_worker.batch.rows import RowReader
from detection_worker.core.batch.objects import StoredObject
from detection_worker.errors import UsageError
from detection_worker.storage.s3_listing import S3Listing


def no_listing() -> S3Listing:
    raise AssertionError("a local manifest needs no S3")


def source_of(path: Path, **reader: Any) -> ManifestSource:
    return ManifestSource(Files(no_listing), str(path), RowReader(**reader))


def read(path: Path, after: int | None = None, **reader: Any) -> list[StoredObject | Unreadable]:
    return [item for _, item in source_of(path, **reader).items(after)]


def keys(items: Sequence[StoredObject | Unreadable]) -> list[tuple[str, str, str | None]]:
    return [(i.bucket, i.key, i.version_id) for i in items if isinstance(i, StoredObject)]


def whys(items: Sequence[StoredObject | Unreadable]) -> list[str]:
    return [f"{Path(i.where).name}: {i.why}" for i in items if isinstance(i, Unreadable)]


def test_csv_with_a_header_takes_columns_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(
        "\ufeffSize,Key,bucket,Version ID,last_modified,etag\n"
        '7,"a,""b"".mp4",media,v1,2026-01-31,"""tag"""\n'
        '8,"line\nfeed.mp4",media,,2026-01-31T12:00:00+02:00,\n'
    )
    first, second = read(path)

    assert first == StoredObject(
        bucket="media",
        key='a,"b".mp4',
        version_id="v1",
        etag="tag",
        size_bytes=7,
        last_modified=datetime(2026, 1, 31, tzinfo=UTC),
    )
    assert isinstance(second, StoredObject)
    assert (second.key, second.version_id) == ("line\nfeed.mp4", None)
    assert second.last_modified == datetime(2026, 1, 31, 10, tzinfo=UTC)


def test_csv_without_a_header_is_bucket_key_and_version(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("media,a b.mp4\nmedia,c+d%20e.mp4,v1\n\ns3://other/x.jpg\n")

    assert keys(read(path)) == [
        ("media", "a b.mp4", None),
        ("media", "c+d%20e.mp4", "v1"),
        ("other", "x.jpg", None),
    ]


def test_csv_that_ends_inside_quotes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('"media","a.jpg"\n"media","b.jpg\n"media","c.jp')
    items = read(path)

    assert keys(items) == [("media", "a.jpg", None)]
    assert whys(items)
    path.write_text('"media","a.jpg"\n"media","b.j')
    assert whys(read(path)) == ["m.csv, line 2: unexpected end of data"]


def test_a_list_of_keys_takes_the_bucket_of_the_prefix(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("a.mp4\nb.mp4\n")

    assert keys(read(path, bucket="media")) == [("media", "a.mp4", None), ("media", "b.mp4", None)]
    assert whys(read(path)) == [
        "m.csv, line 1: it names no bucket",
        "m.csv, line 2: it names no bucket",
    ]


def test_encoded_keys_are_decoded_once_if_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("media,a+b%2Bc%2520.mp4\n")

    assert keys(read(path, encoded=True)) == [("media", "a b+c%20.mp4", None)]
    assert keys(read(path)) == [("media", "a+b%2Bc%2520.mp4", None)]


def test_rows_that_name_no_object_are_told_and_stop_no_other(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(
        b"bucket,key,size,last_modified\nmedia,,1,\nmedia,a.mp4,big,\nmedia,b.mp4,1,yesterday\n"
        b"media,c\xff.mp4,1,\nmedia,d.mp4,1,\n"
        + b"media,"
        + b"x" * 200_000
        + b",1,\nmedia,e.mp4,1,\n"
    )
    items = read(path)

    assert whys(items) == [
        "m.csv, line 2: it names no key",
        "m.csv, line 3: 'big' is no size",
        "m.csv, line 4: 'yesterday' is no time",
        "m.csv, line 7: field larger than field limit (131072)",
    ]
    assert [k for _, k, _ in keys(items)] == ["c\udcff.mp4", "d.mp4", "e.mp4"]


def test_json_lines_are_objects_or_urls(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(
        '{"bucket": "media", "key": "a\\nb.mp4", "versionId": "v", "size": 3}\n'
        '"s3://media/c d.mp4"\n\n{"sqs_to_ml_url": "https://media.s3.amazonaws.com/e%20f.mp4"}\n'
        '{"bucket": "media", "key": "g.mp4", "size": null, "isLatest": false}\n'
        'nothing\n[1]\n{}\n"https://example.com/x"\n' + "[" * 100_000 + "\n"
    )
    items = read(path)

    assert keys(items) == [
        ("media", "a\nb.mp4", "v"),
        ("media", "c d.mp4", None),
        ("media", "e f.mp4", None),
        ("media", "g.mp4", None),
    ]
    assert isinstance(items[3], StoredObject)
    assert items[3].removed
    assert [why.partition(": ")[2].partition(":")[0] for why in whys(items)] == [
        "it is not JSON",
        "it is no object",
        "it names no key",
        "Not an S3 URL",
        "it is not JSON",
    ]


def test_a_rerun_begins_behind_the_row_that_was_last(tmp_path: Path) -> None:
    path = tmp_path / "m.csv.gz"
    path.write_bytes(gzip.compress(b"media,a.mp4\nmedia,b.mp4\nmedia,c.mp4\n"))
    items = list(source_of(path).items(None))

    assert [position for position, _ in items] == [1, 2, 3]
    assert keys(read(path, after=2)) == [("media", "c.mp4", None)]


def test_another_content_is_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("media,a.mp4\n")
    first = source_of(path).identity
    again = source_of(path).identity
    path.write_text("media,b.mp4\n")

    assert first == again != source_of(path).identity


def test_a_damaged_archive_is_an_error_with_a_step(tmp_path: Path) -> None:
    path = tmp_path / "m.csv.gz"
    for data in (gzip.compress(b"media,a.mp4\n" * 1000)[:-20], b"no archive"):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=r"is damaged: .*\nCopy or download it again"):
            read(path)


@pytest.mark.parametrize("name", ["m.txt", "m", "m.csv.zip", "m.parquet"])
def test_an_unknown_ending_is_an_error_that_names_the_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=r"Not a manifest by its name: .*\nKnown are \.csv"):
        source_of(tmp_path / name)


def test_a_missing_manifest_is_an_error_with_a_step(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read the manifest .*: No such file"):
        source_of(tmp_path / "m.csv")


COLUMNS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, StorageClass"
ROWS = [
    '"media","up/a+b%2Bc.mp4","v1","true","false","5","2026-01-31T00:00:00.000Z","STANDARD"\n',
    '"media","up/old.mp4","v0","false","false","5","2026-01-30T00:00:00.000Z","STANDARD"\n',
    '"media","up/gone.mp4","v2","true","true","","2026-01-31T00:00:00.000Z",""\n',
    '"media","up/cold.mp4","v3","true","false","5","2026-01-31T00:00:00.000Z","GLACIER"\n',
]


def inventory(folder: Path, parts: Sequence[bytes], **changes: object) -> Path:
    """Write an S3 Inventory as `aws s3 sync` leaves it; return its manifest.json."""
    (folder / "data").mkdir(parents=True)
    (folder / "2026-01-31T00-00Z").mkdir()
    files = []
    for number, part in enumerate(parts):
        (folder / "data" / f"{number}.csv.gz").write_bytes(part)
        files.append(
            {
                "key": f"inventory/media/daily/data/{number}.csv.gz",
                "size": len(part),
                "MD5checksum": hashlib.md5(part).hexdigest(),
            }
        )
    document = {
        "sourceBucket": "media",
        "destinationBucket": "arn:aws:s3:::reports",
        "fileFormat": "CSV",
        "fileSchema": COLUMNS,
        "files": files,
        **changes,
    }
    path = folder / "2026-01-31T00-00Z" / "manifest.json"
    path.write_text(json.dumps(document))
    return path


def test_an_inventory_is_read_part_by_part(tmp_path: Path) -> None:
    parts = [gzip.compress("".join(ROWS[:2]).encode()), gzip.compress("".join(ROWS[2:]).encode())]
    items = read(inventory(tmp_path / "i", parts))

    assert keys(items) == [
        ("media", "up/a b+c.mp4", "v1"),
        ("media", "up/old.mp4", "v0"),
        ("media", "up/gone.mp4", "v2"),
        ("media", "up/cold.mp4", "v3"),
    ]
    assert [i.removed for i in items if isinstance(i, StoredObject)] == [False, True, True, False]
    assert [i.archived for i in items if isinstance(i, StoredObject)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_part_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = inventory(tmp_path / "i", [gzip.compress(ROWS[0].encode())])
    (tmp_path / "i" / "data" / "0.csv.gz").write_bytes(gzip.compress(ROWS[1].encode()))

    with pytest.raises(UsageError, match=r"is not the one that the inventory lists \(MD5\)"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fileFormat": "ORC", "files": []}', "has the format ORC\nConfigure"),
        ("{}", "Not a manifest.json of S3 Inventory"),
        ("[]", "Not a manifest.json of S3 Inventory"),
        ("nothing", "Not a manifest.json of S3 Inventory"),
    ],
)
def test_other_json_is_no_inventory(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read(path)
