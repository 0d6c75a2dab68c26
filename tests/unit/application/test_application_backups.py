"""Backup and restore: what is copied, what is refused, and that what comes back is the same ledger."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import clearwell
from clearwell.application import backing_up, backups, compacting, restoring, verifying
from clearwell.application.backing_up import BackedUp
from clearwell.application.writing import writing
from clearwell.errors import ClearwellError, DataError, StorageError, UsageError

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """Three segments: a charge that is created, another, and the release of the first; and a record in quarantine."""
    ledger.ingest(creation())
    ledger.ingest(creation(id="evt_3", properties={"charge": "ch_2", "business": "acct_A", "network": "visa"}))
    ledger.ingest(release(), b"{}")
    return ledger


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the backup goes."""
    return tmp_path / "backups" / "shop"


def back_up(ledger: Ledger, kept: Path, *, check: bool = False) -> BackedUp:
    with ledger.open() as workspace:
        return backing_up.back_up(workspace, kept, check=check)


def restored(ledger: Ledger, kept: Path, folder: Path) -> Ledger:
    """Restore into a new folder and prove it."""
    restoring.restore(kept, folder)
    again = type(ledger)(folder, ledger.clock)
    assert again.fault_codes() == set()
    assert not list(folder.glob("*.restoring"))
    return again


def content(ledger: Ledger) -> pl.DataFrame:
    with ledger.open() as workspace:
        log = workspace.log()
        return pl.concat([log.events(file) for file in log.files], how="diagonal")


def segments(ledger: Ledger) -> tuple[object, ...]:
    with ledger.open() as workspace:
        return workspace.log().segments


def inodes(kept: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (kept / "log").iterdir()}


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)


def refused(kind: type[ClearwellError], act: Callable[[], object]) -> ClearwellError:
    with pytest.raises(kind) as caught:
        act()
    return caught.value


# --- what comes back --------------------------------------------------------------------------------------------------


def test_what_comes_back_is_the_same_ledger(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """Events, manifest, quarantine and answers of a restored project are those of the project."""
    made = back_up(filled, kept)
    assert (made.segments, made.events, made.copied, made.kept, made.removed) == (3, 3, 3, 0, 0)
    assert made.head == filled.verify().head
    again = restored(filled, kept, tmp_path / "again")
    assert segments(again) == segments(filled)
    assert content(again).equals(content(filled))
    at = "2026-01-02T04:00:00Z"
    assert again.status(at).account_types == filled.status(at).account_types
    with clearwell.open_project(again.folder) as project:
        assert [item.record for item in project.quarantined()] == [b"{}"]


def test_a_restored_project_goes_on(filled: Ledger, kept: Path, tmp_path: Path, creation: Make) -> None:
    """Duplicates are known, conflicts are told, new events follow, and the next backup of it goes to the same place."""
    back_up(filled, kept)
    again = restored(filled, kept, tmp_path / "again")
    receipt = again.ingest(creation(), creation(occurred_at="2026-01-03T00:00:00Z"), creation(id="evt_9"))
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined, receipt.last_sequence) == (1, 1, 1, 4)
    assert again.fault_codes() == set()
    assert (back_up(again, kept).copied, back_up(again, kept).kept) == (1, 4)


def test_from_python(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """The public door backs up, and restores with a proof."""
    with clearwell.open_project(filled.folder) as project:
        assert project.backup(kept).events == 3
    verification = clearwell.restore_project(kept, tmp_path / "again")
    assert (verification.events, verification.faults) == (3, ())


def test_a_ledger_without_events(ledger: Ledger, kept: Path, tmp_path: Path, creation: Make) -> None:
    """A model in force and a quarantine are worth a backup; before that there is nothing to back up."""
    error = refused(UsageError, lambda: back_up(ledger, kept))
    assert error.code == "ledger_empty"
    assert not kept.exists()
    ledger.ingest(b"{}")
    assert back_up(ledger, kept).events == 0
    restored(ledger, kept, tmp_path / "again")
    ledger.ingest(creation())
    assert back_up(ledger, kept).copied == 1


def test_the_texts_come_along(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """Settings, flows, sources and corrections are restored; other files of the folder, and derived ones, are not."""
    for name in ("sources/10_charges.sql", "corrections/2026/one.yaml", "notes.txt"):
        path = filled.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the text of {name}\n", encoding="utf-8")
    back_up(filled, kept)
    restoring.restore(kept, tmp_path / "again")
    found = {str(path.relative_to(tmp_path / "again")): path for path in (tmp_path / "again").rglob("*")}
    for name in ("clearwell.yaml", "flows/flow.yaml", "sources/10_charges.sql", "corrections/2026/one.yaml"):
        assert found[name].read_bytes() == (filled.folder / name).read_bytes()
    data = sorted(path.name for path in (tmp_path / "again" / "data").iterdir())
    assert data == ["catalog.sqlite", "log"]
    assert "notes.txt" not in found
    assert "events.ndjson" not in found


def test_a_text_that_is_gone_is_gone_from_the_backup(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """The backup has the texts as they are now, not those of before."""
    filled.write_flow("flow: other\n", "later")
    back_up(filled, kept)
    (filled.folder / "flows" / "later.yaml").unlink()
    back_up(filled, kept)
    restoring.restore(kept, tmp_path / "again")
    assert [path.name for path in (tmp_path / "again" / "flows").iterdir()] == ["flow.yaml"]


def test_the_lease_is_not_restored(filled: Ledger, kept: Path, tmp_path: Path, creation: Make) -> None:
    """A backup that was taken while a writer was at work gives a project that can be written to at once."""
    with filled.open() as workspace, writing(workspace) as lease:
        back_up(filled, kept)
        again = restored(filled, kept, tmp_path / "again")
        assert again.ingest(creation(id="evt_9")).accepted == 1
        lease.renew()
    with again.catalog() as connection:
        number: int = connection.exec_driver_sql("SELECT fencing_number FROM writer_lease").scalar_one()
    assert number > lease.fencing_number


def test_an_own_project_keeps_its_texts(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """Where the folder is a project, its settings say where the data goes, and no text is written."""
    back_up(filled, kept)
    again = type(filled)(tmp_path / "again", filled.clock)
    shutil.copytree(filled.folder / "flows", again.folder / "flows")
    again.write_settings(data="elsewhere/ledger", name="mine")
    restoring.restore(kept, again.folder)
    assert json.loads((again.folder / "clearwell.yaml").read_text())["name"] == "mine"
    assert (again.folder / "elsewhere" / "ledger" / "catalog.sqlite").is_file()
    assert again.fault_codes() == set()


def test_secrets_are_for_their_owner_alone(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """Every file of a backup has mode 0600 and every folder 0700; restored secrets and the data folder too."""
    add_secrets(filled)
    back_up(filled, kept)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (kept, *kept.rglob("*"))}
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    restoring.restore(kept, tmp_path / "again")
    data = tmp_path / "again" / "data"
    names = {"": 0o700, "keys.sqlite": 0o600, "checkpoint-key.pem": 0o600}
    assert {name: stat.S_IMODE((data / name).stat().st_mode) for name in names} == names


# --- secrets ----------------------------------------------------------------------------------------------------------


def add_secrets(ledger: Ledger) -> sqlite3.Connection:
    """Keys, still open and in their write-ahead log, and a checkpoint key."""
    (ledger.data / "checkpoint-key.pem").write_text("a checkpoint key")
    connection = sqlite3.connect(ledger.data / "keys.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("CREATE TABLE subject_keys (number INTEGER PRIMARY KEY, secret BLOB)")
    connection.execute("INSERT INTO subject_keys (secret) VALUES ('the key of Alice'), ('the key of Bob')")
    return connection


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_destroyed_key_is_gone_from_the_next_backup(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """The keys are backed up as a whole, also what is in their write-ahead log; one that was destroyed is nowhere."""
    with closing(add_secrets(filled)) as keys:
        back_up(filled, kept)
        assert b"the key of Alice" in everything(kept)
        keys.execute("UPDATE subject_keys SET secret = zeroblob(16) WHERE number = 1")
        back_up(filled, kept)
    assert b"the key of Alice" not in everything(kept)
    restored(filled, kept, tmp_path / "again")
    with closing(sqlite3.connect(tmp_path / "again" / "data" / "keys.sqlite")) as connection:
        rows = connection.execute("SELECT secret FROM subject_keys").fetchall()
    assert rows == [(bytes(16),), ("the key of Bob",)]
    assert (tmp_path / "again" / "data" / "checkpoint-key.pem").read_text() == "a checkpoint key"


@pytest.mark.parametrize("name", ["keys.sqlite", "checkpoint-key.pem"])
def test_a_lost_secret_does_not_go_from_the_backup(filled: Ledger, kept: Path, name: str) -> None:
    """Where the project has lost what only the backup still has, nothing is replaced."""
    add_secrets(filled).close()
    back_up(filled, kept)
    before = everything(kept / "state-00000001")
    (filled.data / name).unlink()
    assert refused(DataError, lambda: back_up(filled, kept)).code == "data_file_missing"
    assert everything(kept / "state-00000001") == before


# --- incremental ------------------------------------------------------------------------------------------------------


def test_only_new_files_are_copied(filled: Ledger, kept: Path, creation: Make) -> None:
    """A second backup leaves the files of the first one as they are, and one without news copies nothing of the log."""
    back_up(filled, kept)
    before = inodes(kept)
    filled.ingest(creation(id="evt_9"))
    made = back_up(filled, kept)
    assert (made.copied, made.kept, made.removed, made.events) == (1, 3, 0, 4)
    after = inodes(kept)
    assert {name: after[name] for name in before} == before
    assert len(after) == 4
    made = back_up(filled, kept)
    assert (made.copied, made.copied_bytes, made.kept) == (0, 0, 4)
    assert inodes(kept) == after
    assert sorted(path.name for path in kept.iterdir()) == ["backup.json", "lock", "log", "state-00000003"]


def test_after_a_compaction(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """The new large file is copied, and those that it replaced go from the backup, when the new backup counts."""
    back_up(filled, kept)
    with filled.open() as workspace:
        compacting.compact(workspace)
    made = back_up(filled, kept)
    assert (made.copied, made.kept, made.removed) == (1, 0, 3)
    assert [path.name for path in (kept / "log").iterdir()] == [path.name for path in (filled.data / "log").iterdir()]
    assert content(restored(filled, kept, tmp_path / "again")).equals(content(filled))


def test_the_rest_of_an_interrupted_copy_is_used(filled: Ledger, kept: Path) -> None:
    """A whole file that no backup names yet is hashed and kept; one that is damaged is copied anew."""
    back_up(filled, kept)
    (kept / "backup.json").unlink()
    first = sorted((kept / "log").iterdir())[0]
    flip(first)
    made = back_up(filled, kept)
    assert (made.copied, made.kept) == (1, 2)
    assert first.read_bytes() == (filled.data / "log" / first.name).read_bytes()


def test_a_damaged_file_in_the_backup_is_mended_when_asked(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """A file that is shorter is copied anew at once; with `check`, so is one with another byte."""
    back_up(filled, kept)
    first, second, _ = sorted((kept / "log").iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    flip(second)
    assert back_up(filled, kept).copied == 1
    assert refused(StorageError, lambda: restoring.restore(kept, tmp_path / "x")).code == "backup_damaged"
    assert back_up(filled, kept, check=True).copied == 1
    restored(filled, kept, tmp_path / "again")


def test_a_damaged_catalog_of_the_former_backup_vouches_for_nothing(filled: Ledger, kept: Path) -> None:
    """Where the former backup's catalog cannot be read, what is in the backup is hashed, and a new backup is made."""
    back_up(filled, kept)
    (kept / "state-00000001" / "catalog.sqlite").write_bytes(b"no database")
    flip(sorted((kept / "log").iterdir())[0])
    assert (back_up(filled, kept).copied, back_up(filled, kept).kept) == (1, 3)


def test_a_linked_copy_keeps_an_older_backup(filled: Ledger, kept: Path, tmp_path: Path, creation: Make) -> None:
    """A copy by hard links stays what it was when the next backup is made, since no file is written into."""
    back_up(filled, kept)
    shutil.copytree(kept, tmp_path / "linked", copy_function=os.link)
    filled.ingest(creation(id="evt_9"))
    with filled.open() as workspace:
        compacting.compact(workspace)
    back_up(filled, kept)
    assert restored(filled, tmp_path / "linked", tmp_path / "older").verify().events == 3
    assert restored(filled, kept, tmp_path / "newer").verify().events == 4


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["data", "data/kept", "data/log", "flows", "sources/kept", "."])
def test_a_folder_that_is_not_apart(filled: Ledger, place: str) -> None:
    """A backup lies neither in what is backed up nor around it."""
    assert refused(UsageError, lambda: back_up(filled, filled.folder / place)).code == "backup_not_apart"


def test_a_folder_through_a_link(filled: Ledger, tmp_path: Path) -> None:
    """A link into the data folder is seen through."""
    (tmp_path / "link").symlink_to(filled.data)
    assert refused(UsageError, lambda: back_up(filled, tmp_path / "link" / "kept")).code == "backup_not_apart"


def test_a_folder_with_something_else_in_it(filled: Ledger, kept: Path) -> None:
    """What is no backup is left alone."""
    kept.mkdir(parents=True)
    (kept / "holiday.jpg").write_bytes(b"sun")
    error = refused(UsageError, lambda: back_up(filled, kept))
    assert (error.code, [path.name for path in kept.iterdir()]) == ("backup_folder_not_empty", ["holiday.jpg"])


def test_another_ledger(filled: Ledger, new_ledger: NewLedger, kept: Path, creation: Make) -> None:
    """A backup is never replaced by that of another ledger, longer or shorter, or of one that went on otherwise."""
    back_up(filled, kept)
    before = everything(kept)
    other = new_ledger()
    for number in range(4):
        other.ingest(creation(id=f"other_{number}"))
        assert refused(UsageError, lambda: back_up(other, kept)).code == "backup_of_another_ledger"
    assert everything(kept) == before


def test_a_log_that_lost_events(filled: Ledger, kept: Path, tmp_path: Path, creation: Make) -> None:
    """A log that is shorter than its backup does not replace it, until it has gone on otherwise: then it is another."""
    back_up(filled, kept)
    older = restored(filled, kept, tmp_path / "older")
    filled.ingest(creation(id="evt_9"))
    back_up(filled, kept)
    error = refused(DataError, lambda: back_up(older, kept))
    assert error.code == "backup_longer_than_log"
    shutil.copytree(kept, tmp_path / "worse")
    (tmp_path / "worse" / "state-00000002" / "catalog.sqlite").write_bytes(b"no database")
    assert refused(DataError, lambda: back_up(older, tmp_path / "worse")).code == "backup_longer_than_log"
    older.clock.advance(days=1)
    older.ingest(creation(id="evt_10"))
    assert refused(UsageError, lambda: back_up(older, kept)).code == "backup_of_another_ledger"
    assert restored(filled, kept, tmp_path / "again").verify().events == 4


def test_a_damaged_segment_stops_a_backup(filled: Ledger, kept: Path, tmp_path: Path, creation: Make) -> None:
    """A file that is not what the manifest says, or is gone, is named; the former backup stays and can be restored."""
    back_up(filled, kept)
    filled.ingest(creation(id="evt_9"))
    newest = max((filled.data / "log").iterdir())
    flip(newest)
    error = refused(StorageError, lambda: back_up(filled, kept))
    assert error.code == "segment_changed"
    assert newest.name in error.message
    newest.unlink()
    assert refused(StorageError, lambda: back_up(filled, kept)).code == "file_unreadable"
    assert restored(filled, kept, tmp_path / "again").verify().events == 3


def test_a_damaged_manifest_stops_a_backup(filled: Ledger, kept: Path) -> None:
    """A chain that is broken, and a catalog that SQLite finds damaged, do not become a backup."""
    with filled.catalog() as connection:
        connection.exec_driver_sql("UPDATE segments SET entry_count = 9 WHERE number = 2")
    error = refused(DataError, lambda: back_up(filled, kept))
    assert (error.code, error.details) == ("manifest_damaged", ("manifest row 2: manifest_row_changed",))
    assert [path.name for path in kept.iterdir()] == ["lock"]


def test_two_backups_at_once(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """While one is at work in a folder, another backup and a restoring are refused; two may restore at once."""
    back_up(filled, kept)
    with backups.locked(kept, alone=True):
        assert refused(StorageError, lambda: back_up(filled, kept)).code == "backup_busy"
        assert refused(StorageError, lambda: restoring.restore(kept, tmp_path / "x")).code == "backup_busy"
    with backups.locked(kept, alone=False):
        assert refused(StorageError, lambda: back_up(filled, kept)).code == "backup_busy"
        restored(filled, kept, tmp_path / "again")


# --- restoring --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_no_backup(tmp_path: Path, folder: str) -> None:
    """A folder that is not there, or has no finished backup, restores nothing."""
    act = lambda: restoring.restore(tmp_path / folder, tmp_path / "again")  # noqa: E731
    assert refused(UsageError, act).code == "backup_not_found"
    assert not (tmp_path / "again").exists()


def test_a_folder_with_data_is_left_alone(filled: Ledger, kept: Path) -> None:
    """Restoring writes over no ledger."""
    back_up(filled, kept)
    before = everything(filled.folder)
    assert refused(UsageError, lambda: restoring.restore(kept, filled.folder)).code == "restore_not_empty"
    assert everything(filled.folder) == before


@pytest.mark.parametrize("name", ["flows/flow.yaml", "flows/other.yaml"])
def test_a_folder_with_other_flows_is_left_alone(filled: Ledger, kept: Path, tmp_path: Path, name: str) -> None:
    """Texts that are others than the backup's, in a folder without settings, are not mixed with them."""
    back_up(filled, kept)
    other = tmp_path / "again" / name
    other.parent.mkdir(parents=True)
    other.write_text("flow: other\n")
    assert refused(UsageError, lambda: restoring.restore(kept, tmp_path / "again")).code == "restore_not_empty"
    assert [path for path in (tmp_path / "again").rglob("*") if path.is_file()] == [other]


def test_an_empty_data_folder_is_taken(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """An empty data folder, also one behind a link, is where the ledger goes."""
    back_up(filled, kept)
    (tmp_path / "disk" / "ledger").mkdir(parents=True)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "data").symlink_to(tmp_path / "disk" / "ledger")
    restored(filled, kept, tmp_path / "again")
    assert (tmp_path / "disk" / "ledger" / "catalog.sqlite").is_file()


def test_a_mount_point_is_refused(filled: Ledger, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder that cannot be renamed into place is said before anything is copied."""
    back_up(filled, kept)
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "data")
    assert refused(UsageError, lambda: restoring.restore(kept, tmp_path / "x")).code == "restore_on_mount_point"


def test_a_folder_in_the_backup_is_refused(filled: Ledger, kept: Path) -> None:
    """A backup is not restored into itself."""
    back_up(filled, kept)
    assert refused(UsageError, lambda: restoring.restore(kept, kept / "again")).code == "restore_not_apart"


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file of the log": lambda kept: flip(sorted((kept / "log").iterdir())[1]),
    "a missing file of the log": lambda kept: sorted((kept / "log").iterdir())[1].unlink(),
    "the catalog": lambda kept: flip(kept / "state-00000001" / "catalog.sqlite"),
    "a missing catalog": lambda kept: (kept / "state-00000001" / "catalog.sqlite").unlink(),
    "the keys": lambda kept: flip(kept / "state-00000001" / "keys.sqlite"),
    "a flow": lambda kept: flip(kept / "state-00000001" / "project" / "flows" / "flow.yaml"),
    "the settings": lambda kept: (kept / "state-00000001" / "project" / "clearwell.yaml").write_text("data: x"),
    "the description": lambda kept: (kept / "backup.json").write_text("{"),
    "a description that leads out": lambda kept: (kept / "backup.json").write_text(
        (kept / "backup.json").read_text().replace("project/flows/", "project/../../")
    ),
    "a description of another state": lambda kept: (kept / "backup.json").write_text(
        (kept / "backup.json").read_text().replace("state-00000001", "state-00000002")
    ),
    "a description without settings": lambda kept: (kept / "backup.json").write_text(
        (kept / "backup.json").read_text().replace("project/clearwell.yaml", "project/flows/clearwell.yaml")
    ),
    "another head": lambda kept: (kept / "backup.json").write_text(
        json.dumps({**json.loads((kept / "backup.json").read_text()), "head": "0" * 64})
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_backup_is_found(filled: Ledger, kept: Path, tmp_path: Path, case: str) -> None:
    """Whatever is not as it was written is found before anything takes its place, and nothing is left."""
    add_secrets(filled).close()
    back_up(filled, kept)
    DAMAGE[case](kept)
    error = refused(StorageError, lambda: restoring.restore(kept, tmp_path / "again"))
    assert error.code == "backup_damaged"
    assert error.details
    assert not any((tmp_path / "again").glob("*"))


def test_every_damaged_file_is_named(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """All files of the log that are damaged are told at once, so that they can be fetched from another copy."""
    back_up(filled, kept)
    first, second, _ = sorted((kept / "log").iterdir())
    flip(first)
    second.unlink()
    error = refused(StorageError, lambda: restoring.restore(kept, tmp_path / "again"))
    assert [detail.split(":")[0] for detail in error.details] == [f"log/{first.name}", f"log/{second.name}"]


def test_a_later_format_is_refused(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """A backup of a later version is neither restored nor written to."""
    back_up(filled, kept)
    path = kept / "backup.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    assert refused(StorageError, lambda: restoring.restore(kept, tmp_path / "again")).code == "backup_too_new"
    assert refused(StorageError, lambda: back_up(filled, kept)).code == "backup_too_new"


def test_a_fault_that_was_backed_up_is_told_by_verify(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """What hashes cannot see, as a model text that was changed before the backup, the proof after restoring does."""
    with filled.catalog() as connection:
        connection.exec_driver_sql("UPDATE flow_texts SET text = text || '# '")
    back_up(filled, kept)
    restoring.restore(kept, tmp_path / "again")
    with type(filled)(tmp_path / "again", filled.clock).open() as workspace:
        codes = {fault.code for fault in verifying.verify(workspace).faults}
    assert "model_changed" in codes


def test_a_copy_without_its_lock_can_be_restored(filled: Ledger, kept: Path, tmp_path: Path) -> None:
    """A backup that was copied elsewhere, read only and without its lock file, is as good."""
    back_up(filled, kept)
    (kept / "lock").unlink()
    for path in kept.rglob("*"):
        path.chmod(0o500 if path.is_dir() else 0o400)
    restored(filled, kept, tmp_path / "again")
    for path in kept.rglob("*"):
        path.chmod(0o700)


def test_names_of_a_backup() -> None:
    """Only files of a state are taken from a description: nothing beside it, and nothing else of the project."""
    own = ["catalog.sqlite", "keys.sqlite", "project/clearwell.yaml", "project/flows/a.yaml"]
    foreign = ["project/../x", "project/flows/../../x", "/etc/x", "project//etc/x", "project/data/x", "log/x", "x", ""]
    assert [name for name in (*own, *foreign) if backups.is_of_a_state(name)] == own
