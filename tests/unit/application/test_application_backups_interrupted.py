"""Backups and restorings that are killed, or run out of disk, at every step; and backups while a writer is at work."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from clearwell.application import backing_up, compacting, restoring
from clearwell.catalog import copying
from clearwell.catalog.database import Database
from clearwell.errors import StorageError, UsageError

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]

_STEPS = ("fsync", "mkdir", "replace", "rmdir", "unlink")


@dataclass
class Interruption:
    """Stops the work in a folder at one of the steps by which files change, whose first is number 0."""

    at: int
    error: BaseException
    passed: int = 0
    _mkdir = staticmethod(os.mkdir)

    @contextmanager
    def within(self, folder: Path) -> Iterator[None]:
        """While the block runs, steps in `folder` are counted, and the one that it is about raises."""
        with pytest.MonkeyPatch.context() as patch:
            for name in _STEPS:
                patch.setattr(os, name, self._watched(getattr(os, name), folder))
            yield

    def _watched(self, act: Callable[..., Any], folder: Path) -> Callable[..., Any]:
        def step(target: Any, *arguments: Any, dir_fd: int | None = None, **options: Any) -> Any:
            inside = dir_fd if dir_fd is not None else target
            path = Path(f"/proc/self/fd/{inside}").readlink() if isinstance(inside, int) else inside
            changes = act is not self._mkdir or not Path(path).is_dir()
            if changes and Path(path).is_relative_to(folder):
                self.passed += 1
                if self.passed == self.at + 1:
                    raise self.error
            return act(target, *arguments, **options, **({} if dir_fd is None else {"dir_fd": dir_fd}))

        return step


ERRORS: dict[str, Callable[[], BaseException]] = {
    "killed": KeyboardInterrupt,
    "disk full": lambda: OSError(errno.ENOSPC, "No space left on device"),
}


@pytest.fixture
def filled(ledger: Ledger, creation: Make) -> Ledger:
    """Two events in two segments, and a key."""
    for number in range(2):
        ledger.ingest(creation(id=f"c{number}"))
    with closing(sqlite3.connect(ledger.data / "keys.sqlite")) as keys, keys:
        keys.execute("CREATE TABLE subject_keys (secret TEXT)")
        keys.execute("INSERT INTO subject_keys VALUES ('old')")
    return ledger


def change(ledger: Ledger, creation: Make) -> None:
    """Compact the log, bring an event in, destroy a key, and write a flow."""
    with ledger.open() as workspace:
        compacting.compact(workspace)
    ledger.ingest(creation(id="later"))
    with closing(sqlite3.connect(ledger.data / "keys.sqlite")) as keys, keys:
        keys.execute("UPDATE subject_keys SET secret = 'new'")
    ledger.write_flow("flow: later\n", "later")


def back_up(ledger: Ledger, kept: Path) -> backing_up.BackedUp:
    with ledger.open() as workspace:
        return backing_up.back_up(workspace, kept)


def what_it_holds(ledger: Ledger, kept: Path, folder: Path, *, proved: bool = True) -> tuple[int, str, bool]:
    """Restore a backup and prove it; returns its events, its key, and whether the later flow is there."""
    restoring.restore(kept, folder)
    return what_a_project_holds(type(ledger)(folder, ledger.clock), proved=proved)


YAML = "clearwell.yaml"


def what_a_project_holds(project: Ledger, *, proved: bool = True) -> tuple[int, str, bool]:
    if proved:
        assert project.fault_codes() == set()
    with project.open() as workspace:
        events = workspace.log().last_sequence
    with closing(sqlite3.connect(project.data / "keys.sqlite")) as keys:
        (key,) = keys.execute("SELECT secret FROM subject_keys").fetchone()
    return events, key, (project.folder / "flows" / "later.yaml").exists()


OLD, NEW = (2, "old", False), (3, "new", True)


def interrupted(how: str, step: int, folder: Path, act: Callable[[], object], code: str) -> bool:
    """Whether there is such a step in `act`, which ended there with the error that belongs to it."""
    error = ""
    try:
        with Interruption(step, ERRORS[how]()).within(folder):
            act()
    except KeyboardInterrupt:
        error = "killed"
    except StorageError as raised:
        error = raised.code
    assert error in {"", "killed" if how == "killed" else code}
    return bool(error)


@pytest.mark.parametrize("how", ERRORS)
def test_a_backup_is_the_former_or_the_new_one(filled: Ledger, creation: Make, tmp_path: Path, how: str) -> None:
    """Interrupted at any step, what is there is wholly the former backup or the new one; the next one finishes it."""
    first = tmp_path / "first"
    back_up(filled, first)
    change(filled, creation)
    found = []
    for step in range(1_000):
        kept = tmp_path / f"kept-{step}"
        shutil.copytree(first, kept)
        if not interrupted(how, step, kept, lambda kept=kept: back_up(filled, kept), "backup_not_writable"):
            break
        found.append(what_it_holds(filled, kept, tmp_path / f"restored-{step}", proved=step % 4 == 0))
        assert back_up(filled, kept).events == 3
        own = sorted(str(path.relative_to(kept)) for path in kept.rglob("*.*") if path.parent.name != "flows")
        assert own[0] == "backup.json"
        assert [name.split("/")[0] for name in own[1:3]] == ["log", "log"]
        assert [name.split("/")[1:] for name in own[3:]] == [["catalog.sqlite"], ["keys.sqlite"], ["project", YAML]]
    assert found == sorted(found)
    assert set(found) == {OLD, NEW}
    assert what_it_holds(filled, tmp_path / "kept-7", tmp_path / "again") == NEW


@pytest.mark.parametrize("how", ERRORS)
def test_a_first_backup_is_none_or_whole(filled: Ledger, tmp_path: Path, how: str) -> None:
    """Interrupted at any step, a first backup is none at all, or whole; the next one finishes it."""
    found: list[object] = []
    for step in range(1_000):
        kept = tmp_path / f"kept-{step}"
        if not interrupted(how, step, kept, lambda kept=kept: back_up(filled, kept), "backup_not_writable"):
            break
        try:
            found.append(what_it_holds(filled, kept, tmp_path / f"restored-{step}", proved=step % 4 == 0))
        except UsageError as error:
            found.append(error.code)
        assert back_up(filled, kept).events == 2
    assert found == sorted(found, key=lambda item: item == OLD)
    assert set(found) == {"backup_not_found", OLD}
    assert what_it_holds(filled, tmp_path / "kept-7", tmp_path / "again") == OLD


@pytest.mark.parametrize("how", ERRORS)
def test_a_restoring_can_be_repeated(filled: Ledger, tmp_path: Path, how: str) -> None:
    """Interrupted at any step, a restored project has no ledger yet, or all of it; repeating it brings all of it."""
    kept = tmp_path / "kept"
    back_up(filled, kept)
    was_there = []
    for step in range(1_000):
        again = type(filled)(tmp_path / f"again-{step}", filled.clock)
        act = lambda folder=again.folder: restoring.restore(kept, folder)  # noqa: E731
        if not interrupted(how, step, again.folder, act, "restore_not_writable"):
            break
        was_there.append(again.data.exists())
        if not again.data.exists():
            restoring.restore(kept, again.folder)
        assert what_a_project_holds(again, proved=step % 4 == 0) == OLD
        assert sorted(path.name for path in again.folder.iterdir()) == ["clearwell.yaml", "data", "flows"]
    assert was_there == sorted(was_there)
    assert set(was_there) == {False, True}


@pytest.mark.parametrize("step", range(3))
def test_a_compaction_meanwhile(
    filled: Ledger, creation: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A compaction between any two acts of a backup takes no file away that the backup still needs."""
    filled.ingest(creation(id="before"))
    filled.write_settings(compaction_events=3)

    def compact() -> None:
        with filled.open() as workspace:
            result = compacting.compact(workspace)
            assert (result.files_after, result.removed) == (1, 0)
            assert result.waiting >= 3

    def with_compaction(act: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
        def both(*arguments: Any, **options: Any) -> Any:
            monkeypatch.undo()
            if before:
                compact()
            result = act(*arguments, **options)
            if not before:
                compact()
            return result

        return both

    where, before = [((Database, "copy"), True), ((Database, "copy"), False), ((backing_up, "copy_file"), False)][step]
    monkeypatch.setattr(*where, with_compaction(getattr(*where), before=before))
    kept = tmp_path / "kept"
    made = back_up(filled, kept)
    assert (made.events, made.copied) == (3, 1 if before else 3)
    assert what_it_holds(filled, kept, tmp_path / "again") == (3, "old", False)
    with filled.open() as workspace:
        assert compacting.compact(workspace).removed == 3


WRITER = """
import json, pathlib, sys
import clearwell
folder, stop = map(pathlib.Path, sys.argv[1:])
event = json.loads((folder / "events.ndjson").read_text())
for number in range(5_000):
    if stop.exists():
        break
    lines = [json.dumps({**event, "id": f"busy_{number}_{place}"}) for place in range(3)]
    (folder / "busy.ndjson").write_text("\\n".join(lines))
    with clearwell.open_project(folder) as project:
        project.ingest(folder / "busy.ndjson")
        if number % 5 == 4:
            project.compact()
"""


def test_backups_while_a_writer_is_at_work(ledger: Ledger, creation: Make, tmp_path: Path) -> None:
    """Each backup that is taken while another process ingests and compacts is a beginning of its log, and is right."""
    ledger.ingest(creation())
    kept, stop = tmp_path / "kept", tmp_path / "stop"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(ledger.folder), str(stop)], env=ledger.environment)
    taken: dict[int, Ledger] = {}
    try:
        while len(taken) < 6 and writer.poll() is None:
            made = back_up(ledger, kept)
            again = type(ledger)(tmp_path / f"again-{made.events}", ledger.clock)
            if made.events not in taken:
                restoring.restore(kept, again.folder)
                assert again.verify().faults == ()
                taken[made.events] = again
        stop.touch()
        assert writer.wait() == 0
    finally:
        writer.kill()
        writer.wait()
    assert len(taken) == 6
    with ledger.open() as workspace:
        log = workspace.log()
        everything = pl.concat([log.events(file) for file in log.files], how="diagonal")
        for events, again in taken.items():
            with again.open() as other:
                copy = other.log()
                assert copy.last_sequence == events
                assert copy.segments == log.segments[: len(copy.segments)]
                held = pl.concat([copy.events(file) for file in copy.files], how="diagonal")
                assert held.equals(everything.head(events))


def test_a_full_disk_under_the_catalog(filled: Ledger, tmp_path: Path) -> None:
    """Where the copy of the catalog does not fit, the backup says so, and the former one stays."""
    kept = tmp_path / "kept"
    back_up(filled, kept)
    script = (
        "import resource, sys; from clearwell.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))\n"
        "sys.exit(main(['backup', sys.argv[1], '-p', sys.argv[2]]))"
    )
    # No file may grow beyond 64 KiB there: the catalog is larger.
    done = subprocess.run(
        [sys.executable, "-c", script, str(kept), str(filled.folder)],
        capture_output=True,
        text=True,
        check=False,
        env=filled.environment,
    )
    assert (done.returncode, "[backup_not_writable]" in done.stderr) == (3, True), done.stderr
    assert sorted(path.name for path in kept.iterdir()) == ["backup.json", "lock", "log", "state-00000001"]
    assert what_it_holds(filled, kept, tmp_path / "again") == OLD


def test_a_database_that_is_damaged_is_not_copied(tmp_path: Path) -> None:
    """A source that is no database, is not there, or has a broken page, is an error of the source, not of the disk."""
    source, target = tmp_path / "source.sqlite", tmp_path / "target.sqlite"
    source.write_bytes(b"no database at all" * 100)
    for path in (source, tmp_path / "nowhere.sqlite"):
        with pytest.raises(StorageError) as caught:
            copying.copy_database(path, target)
        assert caught.value.code == "database_not_copied"
        assert not target.exists()
    source.unlink()
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("CREATE TABLE things (name TEXT)")
        connection.executemany("INSERT INTO things VALUES (?)", [("x" * 500,) for _ in range(100)])
    with source.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StorageError) as caught:
        copying.copy_database(source, target)
    assert caught.value.code == "database_not_copied"


def test_a_copy_is_one_file_as_of_one_instant(tmp_path: Path) -> None:
    """What is in the write-ahead log comes along; what is not committed does not; reading a copy writes nothing."""
    source, target = tmp_path / "source with %20 and #.sqlite", tmp_path / "target ?.sqlite"
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE things (name TEXT)")
        connection.execute("INSERT INTO things VALUES ('committed')")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO things VALUES ('not yet')")
        copying.copy_database(source, target)
        connection.execute("COMMIT")
    before = target.read_bytes()
    with copying.reading_copy(target) as copy:
        assert copy.exec_driver_sql("SELECT name FROM things").scalars().all() == ["committed"]
    assert target.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {source.name, target.name}
