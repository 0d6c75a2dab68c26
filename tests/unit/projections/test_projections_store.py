"""The projections' file: damaged, deleted or foreign, it is made anew; a batch is applied whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from clearwell.application import projecting
from clearwell.application.ingesting import open_door
from clearwell.application.writing import writing
from clearwell.errors import DataError, StorageError
from clearwell.ingest.door import PostedEvents
from clearwell.ingest.inputs import ReadOptions, file_input, read
from clearwell.ledger.posting import post
from clearwell.projections.store import ProjectionStore

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """Two charges, one released, in two segments."""
    ledger.ingest(creation(), creation(id="evt_3", properties={"charge": "c3", "business": "b", "network": "visa"}))
    ledger.ingest(release())
    return ledger


def tables(ledger: Ledger) -> dict[str, list[Any]]:
    with closing(duckdb.connect(str(ledger.data / "projections.duckdb"))) as connection:
        names = ("open_accounts", "episodes", "reservoirs", "progress")
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall()) for name in names}


def change(ledger: Ledger, statement: str) -> None:
    with closing(duckdb.connect(str(ledger.data / "projections.duckdb"))) as connection:
        connection.execute(statement)


def _in_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[12_288:-1] = b"\xff" * len(content[12_288:-1])
    path.write_bytes(content)


DAMAGES: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "deleted": (False, Path.unlink),
    "garbage": (True, lambda path: path.write_bytes(b"garbage" * 10_000)),
    "short": (True, lambda path: path.write_bytes(b"garbage")),
    "truncated": (True, lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])),
    "in_the_middle": (True, _in_the_middle),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_rebuilt_and_said_aloud(filled: Ledger, damage: str) -> None:
    """The answer is the same as before, and the user hears of the damage when there was some."""
    aloud, act = DAMAGES[damage]
    rows, before = filled.status().account_types, tables(filled)
    filled.notices.clear()
    act(filled.data / "projections.duckdb")
    assert filled.status().account_types == rows
    assert tables(filled) == before
    assert bool(filled.notices) == aloud


@pytest.mark.parametrize("column", ["format", "fingerprint"])
def test_a_file_of_another_format_is_rebuilt(filled: Ledger, column: str) -> None:
    """Tables of another format, or with other hashes, are not trusted."""
    before = tables(filled)
    change(filled, f"UPDATE progress SET {column} = {column} - 1")
    change(filled, "DELETE FROM single_entries")
    filled.status()
    assert tables(filled) == before


def test_a_log_that_has_lost_events_stops_everything_but_a_rebuild(filled: Ledger, creation: Make) -> None:
    """Nothing is asked of a log that is shorter than what was projected, or written to it, until a person decides."""
    before = tables(filled)
    change(filled, "UPDATE progress SET applied_sequence = 99")
    for act in (filled.status, lambda: filled.ingest(creation(id="evt_99"))):
        with pytest.raises(DataError) as caught:
            act()
        assert caught.value.code == "log_shorter_than_projections"
    with filled.open() as workspace:
        projecting.catch_up(workspace, anew=True)
    assert tables(filled) == before


def test_a_rebuild_gives_the_same_tables(filled: Ledger) -> None:
    """Rows and applied sequence are those that following the log batch by batch had given."""
    before = tables(filled)
    with filled.open() as workspace:
        assert projecting.catch_up(workspace, anew=True) == 3
    assert tables(filled) == before


@pytest.mark.parametrize("given", [[0, 1, 2], [1, 2], [0, 2], [2]], ids=str)
def test_batches_with_a_gap_are_followed_in_the_log(
    ledger: Ledger, creation: Make, release: Make, given: list[int]
) -> None:
    """Where a batch before or between those given is missing, the tables are still those of a rebuild."""
    records = [
        creation(),
        release(),
        creation(id="evt_3", properties={"charge": "c3", "business": "b", "network": "v"}),
    ]
    with ledger.open() as workspace:
        with writing(workspace) as lease:
            model, door = open_door(workspace, lease)
            options, batches = ReadOptions(10, 10_000, ledger.folder, {}), list[PostedEvents]()
            for number, record in enumerate(records):
                path = ledger.write(json.dumps(record).encode(), f"{number}.ndjson")
                ((_, batch, _),) = read([file_input(str(path))], model, options)
                batches += door.take(door.check(batch)).posted
        with closing(projecting.opened_to_write(workspace)) as store:
            projecting.project(workspace, store, [batches[place] for place in given])
            assert store.applied_sequence == 3
    found = tables(ledger)
    with ledger.open() as workspace:
        projecting.catch_up(workspace, anew=True)
    assert tables(ledger) == found


PLACES = ["UPDATE progress", "MERGE INTO reservoir_sums", "INSERT INTO single_entries", "MERGE INTO episode_hours"]


@pytest.mark.parametrize("place", PLACES)
def test_a_batch_is_applied_whole_or_not_at_all(
    filled: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """An exception in the middle leaves rows and applied sequence as they were, and the batch can be applied again."""
    before = tables(filled)
    with filled.open() as workspace:
        store = ProjectionStore(workspace.projection_path)
        events = workspace.log().events(workspace.log().files[0])
        later = events.with_columns(events["sequence"] + 3)
        posted = post(later, workspace.known_models())

        class Breaking:
            def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
                self._connection = connection

            def execute(self, statement: str, *parameters: object) -> object:
                if place in statement:
                    raise KeyboardInterrupt
                return self._connection.execute(statement, *parameters)

            def __getattr__(self, name: str) -> object:
                return getattr(self._connection, name)

        with monkeypatch.context() as patch:
            patch.setattr(store, "connection", Breaking(store.connection))
            with pytest.raises(KeyboardInterrupt):
                store.apply(posted, 4, 5)
        assert store.applied_sequence == 3
        store.close()
        assert tables(filled) == before
        store = ProjectionStore(workspace.projection_path)
        store.apply(posted, 4, 5)
        assert store.applied_sequence == 5
        store.close()


def test_a_gap_in_the_sequences_stops(filled: Ledger) -> None:
    """A batch that does not follow what is applied is our mistake, and changes nothing."""
    before = tables(filled)
    with filled.open() as workspace:
        store = ProjectionStore(workspace.projection_path)
        log = workspace.log()
        posted = post(log.events(log.files[1]), workspace.known_models())
        for first in (3, 5):
            with pytest.raises(AssertionError):
                store.apply(posted, first, first)
        store.close()
    assert tables(filled) == before


def test_a_file_that_is_in_use_is_said_to_be(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process has the file the error says so; the file is not taken for damaged."""
    before = tables(filled)

    def locked(*_: object, **__: object) -> None:
        raise duckdb.IOException("IO Error: Could not set lock on file: Conflicting lock is held")

    monkeypatch.setattr(projecting, "WAIT_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr("clearwell.projections.store.duckdb.connect", locked)
        with pytest.raises(StorageError) as caught:
            filled.status()
    assert caught.value.code == "projections_busy"
    assert tables(filled) == before
