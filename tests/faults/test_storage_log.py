"""Files of the log that are cut off, changed, missing or too many; manifest rows without files; clocks that jump."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aftermath import Command, Tally, prove

from clearwell.application import compacting

if TYPE_CHECKING:
    from conftest import Ledger

Creations = Callable[[int, int], list[dict[str, Any]]]

QUESTIONS = [
    ["status"],
    ["open"],
    ["balance", "business_balance"],
    ["trace", "charge=ch_2"],
    ["query", "SELECT count(*) FROM events"],
    ["status", "--known-at", "4", "--at", "2026-01-01T00:00:00Z"],
    ["quarantine", "list"],
    ["check"],
]


def files(ledger: Ledger) -> list[Path]:
    """The files of the log, as the manifest names them."""
    with ledger.open() as workspace:
        log = workspace.log()
        return [log.path(item) for item in log.files]


@pytest.fixture
def filled(ledger: Ledger, creations: Creations) -> Ledger:
    """A ledger of three segments of three events."""
    for first in (1, 4, 7):
        ledger.ingest(*creations(first, 3))
    return ledger


IDS = [f"evt_{number}" for number in range(1, 10)]


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def _garbled(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def _gone(path: Path) -> None:
    path.unlink()


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "cut_off": _cut,
    "emptied": _emptied,
    "one_bit_flipped": _flipped,
    "other_bytes": _garbled,
    "missing": _gone,
    "a_folder_in_its_place": _a_folder,
}


@pytest.mark.fault("A file of the log is cut off, emptied, has a flipped bit or other bytes, or is missing")
@pytest.mark.parametrize("compacted", [False, True], ids=["segments", "compacted"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_segment(filled: Ledger, command: Command, tally: Tally, damage: str, compacted: bool) -> None:
    """`verify` names the file; no command calls it its own mistake; put back, all is right and nothing was lost."""
    if compacted:
        with filled.open() as workspace:
            compacting.compact(workspace)
    for path in files(filled):
        tally.rounds += 1
        saved = path.read_bytes()
        DAMAGES[damage](path)
        ran = command(filled, "verify")
        assert (ran.code, path.name in ran.out + ran.err) == (1, True)
        for arguments in (*QUESTIONS, ["rebuild"], ["compact"]):
            assert command(filled, *arguments).code in {0, 3}, arguments
        again = filled.write((filled.folder / "events.ndjson").read_bytes(), "again.ndjson")
        assert command(filled, "ingest", str(again)).code in {0, 1, 3}
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(saved)
        filled.ingest_file(again)
        prove(filled, IDS)


@pytest.mark.fault("The folder of the log is gone, or holds files that no manifest row names")
def test_a_file_without_a_row(filled: Ledger, command: Command) -> None:
    """A foreign file is named by `verify` and harms nothing; without the folder every command says what is missing."""
    foreign = files(filled)[0].parent / "segment-00000099-0000000000000000.parquet"
    shutil.copy(files(filled)[0], foreign)
    ran = command(filled, "verify")
    assert (ran.code, foreign.name in ran.out) == (1, True)
    assert command(filled, "status").code == 0
    foreign.unlink()
    folder = foreign.parent
    moved = folder.rename(folder.parent / "elsewhere")
    assert command(filled, "verify").code == 1
    for arguments in QUESTIONS:
        assert command(filled, *arguments).code in {0, 3}, arguments
    shutil.rmtree(folder, ignore_errors=True)
    moved.rename(folder)
    prove(filled, IDS)


@pytest.mark.catalog_file
@pytest.mark.fault("The manifest has lost its newest row, one in the middle, or has one changed")
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM segments WHERE number = 3", "log_shorter_than_projections"),
        ("DELETE FROM segments WHERE number = 2", "segment_number_gap"),
        ("UPDATE segments SET moved = '{}' WHERE number = 2", "manifest_row_changed"),
        ("UPDATE segments SET file_sha256 = 'x' WHERE number = 2", "segment_changed"),
        ("UPDATE segments SET file_name = '../../etc/passwd' WHERE number = 2", "segment_missing"),
        ("DELETE FROM flow_texts", "model_changed"),
    ],
)
def test_a_changed_manifest(filled: Ledger, command: Command, statement: str, code: str) -> None:
    """`verify` says what is wrong, no command calls it its own mistake, and the old catalog put back is right."""
    catalog = filled.data / "catalog.sqlite"
    saved = _copied(filled)
    with closing(sqlite3.connect(catalog)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(statement)
    assert code in filled.fault_codes()
    for arguments in (*QUESTIONS, ["compact"]):
        assert command(filled, *arguments).code in {0, 1, 3}, arguments
    for path in filled.data.glob("catalog.sqlite*"):
        path.unlink()
    shutil.copy(saved, catalog)
    filled.ingest_file(filled.folder / "events.ndjson")
    prove(filled, IDS)


def _copied(ledger: Ledger) -> Path:
    saved = ledger.folder / "saved.sqlite"
    with closing(sqlite3.connect(ledger.data / "catalog.sqlite")) as source, closing(sqlite3.connect(saved)) as target:
        source.backup(target)
    return saved


@pytest.mark.fault("The clock goes back by a year, stands still, or jumps ahead")
def test_the_clock_jumps(ledger: Ledger, creations: Creations, tally: Tally) -> None:
    """Recorded times still grow, no cut of before changes, and an ingest needs no waiting for a lease of the future."""
    answers = []
    for number, jump in enumerate((0, -365, 0, 300, -300, 0, 1, -1), start=1):
        tally.rounds += 1
        ledger.clock.advance(days=jump)
        assert ledger.ingest(*creations(10 * number, 3)).accepted == 3
        answers.append(ledger.status(at="2026-02-01T00:00:00Z", known_at=str(3 * number)).account_types)
        for known, answer in enumerate(answers, start=1):
            assert ledger.status(at="2026-02-01T00:00:00Z", known_at=str(3 * known)).account_types == answer
    with ledger.open() as workspace:
        times = [item.recorded_at for item in workspace.log().segments]
    assert times == sorted(set(times))
    ledger.clock.now -= timedelta(days=20_000)
    assert ledger.ingest(*creations(10, 3)).duplicates == 3
    prove(ledger, [f"evt_{10 * number + place}" for number in range(1, 9) for place in range(3)])


@pytest.mark.fault("The clock goes back below the times of new events")
def test_events_of_a_future_that_the_clock_took_back(ledger: Ledger, creation: Callable[..., Any]) -> None:
    """They are too far ahead until the clock is right, wait in quarantine, and nothing is lost."""
    ledger.clock.advance(days=-3_650)
    assert ledger.ingest(creation()).quarantined == 1
    ledger.clock.advance(days=3_650)
    assert ledger.ingest(creation()).accepted == 1
    prove(ledger, ["evt_1"])
