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


def test_the_rest_of_a_crash_is_replaced(tmp_path: Path) -> None:
    """A file of the same number, and one half written, give way to the new one, whose hash and size are told."""
    (tmp_path / "segment-00000001.parquet").write_bytes(b"left over")
    (tmp_path / ".segment-00000001.parquet.part").write_bytes(b"half")
    file = write_segment(tmp_path, 1, EVENTS)
    content = (tmp_path / file.name).read_bytes()
    assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert pl.read_parquet(tmp_path / file.name).equals(EVENTS)


def test_file_and_folder_are_synced_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced before the file gets its name, and the folder after."""
    steps: list[str] = []
    name = tmp_path / "segment-00000001.parquet"

    def synced(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        steps.append(f"{kind}, {'named' if name.exists() else 'unnamed'}")

    monkeypatch.setattr(writer.os, "fsync", synced)
    write_segment(tmp_path, 1, EVENTS)
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
    """The segments that hold a sequence of the range, both ends included."""
    assert [item.number for item in LogReader(tmp_path, chain).covering(first, last)] == numbers
