"""The spool: what it hands out again after a crash, what it tells of damage, and what it leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearwell.client.exchange import Batch, RefusedEvent
from clearwell.client.spool import Spool, SpoolOptions
from clearwell.errors import StorageError

MOST = (1000, 1 << 20)


def lines(*numbers: int) -> list[bytes]:
    return [b'{"id":"evt_%d"}' % number for number in numbers]


def taken(spool: Spool, most: tuple[int, int] = MOST) -> list[bytes]:
    """Everything that waits, acknowledged batch by batch."""
    found: list[bytes] = []
    while (batch := spool.next(most)) is not None:
        found += batch.lines
        spool.settle(batch, ())
    return found


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def crash(spool: Spool) -> None:
    """End it as a killed process does: nothing is tidied."""
    for file in spool._files:
        os.close(file.descriptor)
    os.close(spool._lock_file)


def test_lines_come_in_order_across_files_and_processes(tmp_path: Path) -> None:
    """Small files, three processes, and acknowledgements in between: each line once, in order."""
    options = SpoolOptions(file_bytes=60)
    spool = Spool(tmp_path, options)
    spool.add(lines(0, 1, 2))
    spool.add(lines(3, 4))
    batch = spool.next((2, 1 << 20))
    assert batch is not None
    assert batch.lines == lines(0, 1)
    spool.settle(batch, ())
    crash(spool)
    spool = Spool(tmp_path, options)
    assert (spool.added, spool.settled, spool.damages) == (3, 0, [])
    spool.add(lines(5))
    crash(spool)
    spool = Spool(tmp_path, options)
    spool.add(lines(6))
    assert taken(spool) == lines(2, 3, 4, 5, 6)
    assert spool.waiting_bytes == 0
    spool.close()
    assert left(tmp_path) == ["acknowledged", "lock"]


def test_a_place_is_never_used_twice(tmp_path: Path) -> None:
    """A new file's number is beyond the acknowledged one, so that nothing new is taken for acknowledged."""
    for number in range(3):
        spool = Spool(tmp_path)
        spool.add(lines(number))
        assert taken(spool) == lines(number)
        spool.close()


def test_the_same_batch_has_the_same_key_in_a_later_process(tmp_path: Path) -> None:
    """The key is of the place, so that a request whose answer was lost is the same one; another end is another key."""
    spool = Spool(tmp_path)
    spool.add(lines(0, 1))
    first = spool.next(MOST)
    crash(spool)
    spool = Spool(tmp_path)
    second, shorter = spool.next(MOST), spool.next((1, 1))
    assert first == second
    assert shorter is not None
    assert first is not None
    assert shorter.key != first.key
    spool.close()


def cut_short(content: bytes) -> bytes:
    return content[:-5]


def zeros_at_the_end(content: bytes) -> bytes:
    return content[:-10] + bytes(10)


@pytest.mark.parametrize("damage", [cut_short, zeros_at_the_end])
def test_a_damaged_end_is_told_and_passed_over(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """What a crash left of the last line is no event; the lines before it are sent, and the file is kept aside."""
    spool = Spool(tmp_path)
    spool.add(lines(0, 1, 2))
    crash(spool)
    (path,) = tmp_path.glob("events-*")
    path.write_bytes(damage(path.read_bytes()))
    spool = Spool(tmp_path)
    (told,) = spool.damages
    assert (told.file, told.at_end) == (path.name, True)
    spool.add(lines(3))
    assert taken(spool) == lines(0, 1, 3)
    spool.close()
    assert left(tmp_path) == ["acknowledged", "events-000000000001.damaged", "lock"]


def test_damage_in_the_middle_costs_one_line(tmp_path: Path) -> None:
    """The line whose check sum is wrong is told; those around it are sent."""
    spool = Spool(tmp_path)
    spool.add(lines(0, 1, 2))
    crash(spool)
    (path,) = tmp_path.glob("events-*")
    path.write_bytes(path.read_bytes().replace(b"evt_1", b"evt_7"))
    spool = Spool(tmp_path)
    assert [item.at_end for item in spool.damages] == [False]
    assert taken(spool) == lines(0, 2)
    spool.close()


@pytest.mark.parametrize("content", [b"", b"clearwell-sp", b"\0" * 40])
def test_a_file_that_was_just_begun_is_no_trouble(tmp_path: Path, content: bytes) -> None:
    """A crash right after a file was made leaves it empty or cut short."""
    (tmp_path / "events-000000000001.spool").write_bytes(content)
    spool = Spool(tmp_path)
    spool.add(lines(1))
    assert taken(spool) == lines(1)
    spool.close()


@pytest.mark.parametrize("content", [b"", b"12345678 1 4\n", b"junk"])
def test_without_the_place_everything_is_sent_again(tmp_path: Path, content: bytes) -> None:
    """A power cut may leave any `acknowledged`; what was acknowledged is then a duplicate, and nothing is lost."""
    spool = Spool(tmp_path)
    spool.add(lines(0, 1))
    batch = spool.next((1, 1))
    assert batch is not None
    spool.settle(batch, ())
    crash(spool)
    (tmp_path / "acknowledged").write_bytes(content)
    spool = Spool(tmp_path)
    assert taken(spool) == lines(0, 1)
    spool.close()


def test_lines_larger_than_a_piece_are_read_whole(tmp_path: Path) -> None:
    """A line of three megabytes, among small ones."""
    large = b'"' + b"x" * (3 << 20) + b'"'
    spool = Spool(tmp_path)
    spool.add([*lines(0), large, *lines(1)])
    assert taken(spool, (2, 100)) == [*lines(0), large, *lines(1)]
    spool.close()


def test_a_full_disk_takes_nothing_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write fails in its middle: `add` raises, what was half written is gone, and the next one is sound."""
    spool = Spool(tmp_path)
    spool.add(lines(0))
    write = os.write
    calls: list[int] = []

    def failing(descriptor: int, content: Any) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", failing)
        with pytest.raises(StorageError) as full:
            spool.add(lines(1))
    assert full.value.code == "spool_not_writable"
    spool.add(lines(2))
    crash(spool)
    spool = Spool(tmp_path)
    assert spool.damages == []
    assert taken(spool) == lines(0, 2)
    spool.close()


def test_a_sync_that_failed_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk tells of a lost write once: `add` raises, what comes goes to another file, and is synced there."""
    spool = Spool(tmp_path)

    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    spool.add(lines(0))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(StorageError):
            spool.add(lines(1))
    with pytest.raises(StorageError):
        spool.sync()
    spool.add(lines(2))
    assert len(list(tmp_path.glob("events-*"))) == 2
    assert taken(spool) == lines(0, 1, 2)
    spool.close()


def test_a_limit_of_bytes(tmp_path: Path) -> None:
    """With `most_bytes` the folder is bounded; an empty one takes anything."""
    spool = Spool(tmp_path, SpoolOptions(most_bytes=10))
    assert spool.has_room(lines(0))
    spool.add(lines(0))
    assert not spool.has_room(lines(1))
    spool.close()


def test_refused_events_are_durable_before_they_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When refused.ndjson cannot be written, the batch is handed out again."""
    spool = Spool(tmp_path)
    spool.add(lines(0))
    batch = spool.next(MOST)
    assert batch is not None
    refused = [RefusedEvent(0, batch.lines[0], "event_type_unknown", "type", "another", "this")]
    (tmp_path / "refused.ndjson").mkdir()
    with pytest.raises(StorageError):
        spool.settle(batch, refused)
    assert spool.next(MOST) == batch
    (tmp_path / "refused.ndjson").rmdir()
    spool.settle(Batch(batch.lines, batch.key), refused)
    assert spool.next(MOST) is None
    spool.close()
    assert b'"event": {"id": "evt_0"}' in (tmp_path / "refused.ndjson").read_bytes()


def test_a_closed_spool_takes_nothing(tmp_path: Path) -> None:
    """Another process may have the folder by then."""
    spool = Spool(tmp_path)
    spool.close()
    spool.close()
    with pytest.raises(StorageError, match="closed"):
        spool.add(lines(0))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The path is a file."""
    (tmp_path / "spool").write_text("", encoding="utf-8")
    with pytest.raises(StorageError) as unusable:
        Spool(tmp_path / "spool")
    assert unusable.value.code == "spool_unusable"
