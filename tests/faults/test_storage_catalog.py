"""The catalog locked, damaged or cut off; two writers; projections and identities that are damaged or gone."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aftermath import Command, Tally, prove

from clearwell.application import ingesting
from clearwell.application.writing import writing
from clearwell.bootstrap import open_workspace
from clearwell.catalog import transactions
from clearwell.errors import StorageError
from clearwell.ingest import identities
from clearwell.ingest.inputs import ReadOptions, file_input, read

if TYPE_CHECKING:
    from conftest import Ledger

Creations = Callable[[int, int], list[dict[str, Any]]]
IDS = ["evt_1", "evt_2", "evt_3"]

_HOLD = """
import sys
from clearwell.bootstrap import open_workspace
with open_workspace(sys.argv[1]) as workspace, workspace.catalog.write():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(ledger: Ledger) -> Iterator[None]:
    """Another process holds the catalog's write lock."""
    command = [sys.executable, "-c", _HOLD, str(ledger.folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ledger.environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()


@pytest.mark.fault("Another process holds the catalog's write lock")
def test_a_locked_catalog(
    ledger: Ledger, command: Command, creations: Creations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions are answered meanwhile; an ingest waits, then stops by name, and completes when the lock is gone."""
    monkeypatch.setattr(transactions, "BUSY_MILLISECONDS", 100)
    ledger.ingest(*creations(1, 3))
    path = ledger.write(b"\n".join(json.dumps(item).encode() for item in creations(4, 2)), "more.ndjson")
    with held(ledger):
        for arguments in (["status"], ["trace", "charge=ch_1"], ["query", "FROM events"], ["verify"], ["check"]):
            assert command(ledger, *arguments).code == 0, arguments
        for arguments in (["ingest", str(path)], ["compact"], ["quarantine", "retry"]):
            ran = command(ledger, *arguments)
            assert (ran.code, ran.error) == (3, "catalog_not_writable"), arguments
    assert command(ledger, "ingest", str(path)).code == 0
    prove(ledger, [*IDS, "evt_4", "evt_5"])


@pytest.mark.fault("Two writers at once")
def test_two_writers(ledger: Ledger, command: Command, creations: Creations) -> None:
    """The second stops with `writer_busy` and exit code 3; questions go on; the first finishes; nothing is doubled."""
    ledger.ingest(*creations(1, 3))
    with open_workspace(ledger.folder) as first, writing(first):
        for arguments in (["ingest", str(ledger.folder / "events.ndjson")], ["compact"], ["check", "--accept"]):
            ran = command(ledger, *arguments)
            assert (ran.code, ran.error) == (3, "writer_busy"), arguments
        assert command(ledger, "status").code == 0
    assert ledger.ingest_file(ledger.folder / "events.ndjson").duplicates == 3
    prove(ledger, IDS)


@pytest.mark.fault("A writer that was paused, and whose lease another has taken over meanwhile")
def test_a_writer_that_was_overtaken(ledger: Ledger, creations: Creations) -> None:
    """It cannot commit any more and says so; what the other has committed stands, and a repeat makes nothing double."""
    first, second = creations(1, 3), creations(4, 3)
    path = ledger.write(b"".join(json.dumps(item).encode() + b"\n" for item in first), "first.ndjson")
    with ledger.open() as workspace, writing(workspace) as lease:
        model, door = ingesting.open_door(workspace, lease)
        options = ReadOptions(batch_rows=10, record_bytes=10_000, folder=ledger.folder, variables={})
        ((_, batch, _),) = read([file_input(str(path))], model, options)
        ledger.clock.advance(minutes=5)
        assert ledger.ingest(*second).accepted == 3
        with pytest.raises(StorageError) as caught:
            ingesting.take(workspace, door, door.check(batch))
    assert caught.value.code in {"writer_lease_lost", "manifest_moved_on"}
    assert ledger.ingest_file(path).accepted == 3
    assert ledger.ingest_file(path).duplicates == 3
    prove(ledger, [f"evt_{number}" for number in range(1, 7)])


@pytest.mark.catalog_file
@pytest.mark.fault("The catalog is cut off, garbled, emptied or missing")
@pytest.mark.parametrize("damage", ["cut", "garbled", "middle", "emptied", "missing"])
def test_a_damaged_catalog(ledger: Ledger, command: Command, creations: Creations, damage: str) -> None:
    """No command takes it for its own mistake or writes over the log; with the copy put back all is right."""
    ledger.ingest(*creations(1, 3))
    path = ledger.data / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    named = {item.name: item.read_bytes() for item in (ledger.data / "log").iterdir()}
    damaged = {
        "cut": whole[: len(whole) // 2],
        "garbled": os.urandom(len(whole)),
        "middle": whole[:4_096] + os.urandom(len(whole) - 4_096),
        "emptied": b"",
    }
    for item in ledger.data.glob("catalog.sqlite*"):
        item.unlink()
    if damage != "missing":
        path.write_bytes(damaged[damage])
    for arguments in (["status"], ["verify"], ["ingest", str(ledger.folder / "events.ndjson")], ["compact"]):
        ran = command(ledger, *arguments)
        assert ran.code in {1, 2, 3}, arguments
        assert ran.error or "fault" in ran.out, (arguments, ran)
    for item in ledger.data.glob("catalog.sqlite*"):
        item.unlink()
    path.write_bytes(whole)
    kept = {item.name: item.read_bytes() for item in (ledger.data / "log").iterdir() if item.name in named}
    assert kept == named
    assert ledger.ingest_file(ledger.folder / "events.ndjson").duplicates == 3
    prove(ledger, IDS)


@pytest.mark.fault("The projections are deleted, cut off, or hold other bytes")
@pytest.mark.parametrize("damage", ["missing", "cut", "garbled", "emptied", "short", "foreign", "garbled_wal"])
def test_damaged_projections(ledger: Ledger, creations: Creations, damage: str) -> None:
    """The next question rebuilds them, says so when they were damaged, and answers as before."""
    ledger.ingest(*creations(1, 3))
    before = ledger.status().account_types
    path = ledger.data / "projections.duckdb"
    content = path.read_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "garbled": os.urandom(len(content)),
        "emptied": b"",
        "short": b"x",
        "foreign": (b"SQLite format 3\0" + b"a file of another kind" * 1_000),
    }
    if damage == "garbled_wal":
        (ledger.data / "projections.duckdb.wal").write_bytes(os.urandom(5_000))
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    ledger.notices.clear()
    assert ledger.status().account_types == before
    told = [notice for notice in ledger.notices if "rebuilt" in notice]
    assert bool(told) == (damage not in {"missing", "garbled_wal"})
    prove(ledger, IDS)


@pytest.mark.fault("The files of known identities are deleted, cut off, changed, or too many")
def test_damaged_identities(
    ledger: Ledger, creations: Creations, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made anew from the log, and no event comes in twice."""
    monkeypatch.setattr(identities, "STORED_AT", 4)
    ledger.ingest(*creations(1, 20))
    folder = ledger.data / "identities"
    assert list(folder.glob("*.npy"))
    for change in (
        lambda path: path.unlink(),
        lambda path: os.truncate(path, 40),
        lambda path: path.write_bytes(os.urandom(400)),
        lambda path: path.write_bytes(b""),
        lambda path: path.rename(path.with_name(path.name.replace("-00", "-01", 1))),
        lambda path: (folder / "notes.txt").write_bytes(b"x"),
    ):
        tally.rounds += 1
        for path in list(folder.glob("*.npy")):
            change(path)
        assert ledger.ingest(*creations(1, 20)).duplicates == 20
    prove(ledger, [f"evt_{number}" for number in range(1, 21)])
