"""Segment files: durable, replaced only when they are the rest of a crash, and read back as they were."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clearwell.errors import StorageError
from clearwell.log import writer
from clearwell.log.manifest import Segment
from clearwell.log.reader import LogReader
from clearwell.log.writer import write_segment

EVENTS = pl.DataFrame({"sequence": [1, 2], "id": ["a", "b"]})


def test_a_file_is_named_after_its_content(tmp_path: Path) -> None:
    """Another content gets another name, so that no writer can write over what another has written."""
    file, other = (write_segment(tmp_path, "segment-00000001", EVENTS.head(count)) for count in (2, 1))
    content = (tmp_path / file.name).read_bytes()
    assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert file.name == f"segment-00000001-{file.sha256[:16]}.parquet"
    assert {path.name for path in tmp_path.iterdir()} == {file.name, other.name}
    assert write_segment(tmp_path, "segment-00000001", EVENTS) == file
    assert pl.read_parquet(tmp_path / file.name).equals(EVENTS)


def test_file_and_folder_are_synced_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced before the file gets its name, and the folder after."""
    steps: list[str] = []

    def synced(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        steps.append(f"{kind}, {'named' if list(tmp_path.glob('segment-*')) else 'unnamed'}")

    monkeypatch.setattr(writer.os, "fsync", synced)
    write_segment(tmp_path, "segment-00000001", EVENTS)
    assert steps == ["file, unnamed", "folder, named"]


def test_a_missing_segment_is_not_passed_over(chain: list[Segment], tmp_path: Path) -> None:
    """The reader raises for a file that is gone or damaged, rather than answer without it."""
    reader = LogReader(tmp_path, chain)
    with pytest.raises(StorageError, match=r"segment-1\.parquet"):
        list(reader.after(0))
    (tmp_path / "segment-1.parquet").write_bytes(b"no parquet")
    with pytest.raises(StorageError) as caught:
        reader.at(np.array([1]))
    assert caught.value.code == "segment_unreadable"


@pytest.mark.parametrize(
    ("first", "last", "numbers"), [(1, 6, [1, 2, 3]), (2, 3, [1, 2]), (4, 4, [2]), (7, 9, []), (0, 0, [])]
)
def test_a_range_of_sequences_finds_its_segments(
    chain: list[Segment], tmp_path: Path, first: int, last: int, numbers: list[int]
) -> None:
    """The files that hold a sequence of the range, both ends included."""
    assert [
        item.number for file in LogReader(tmp_path, chain).covering(first, last) for item in file.segments
    ] == numbers
