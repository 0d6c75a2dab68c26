"""A catalog in PostgreSQL: one writer at a time, texts as they are, one ledger with its folder, no password told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from sqlalchemy import URL, insert, select, text
from sqlalchemy.exc import DBAPIError

import catalogs
from clearwell.application import backing_up, restoring
from clearwell.bootstrap import open_workspace
from clearwell.catalog import access, quarantine, transactions
from clearwell.catalog.database import Database, known_ledger
from clearwell.catalog.postgresql import catalog_address
from clearwell.catalog.quarantine import Reason
from clearwell.catalog.tables import models
from clearwell.errors import ClearwellError, StorageError, UsageError
from clearwell.settings import CATALOG_URL
from producer_records import PASSWORD

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
KEY = dict.fromkeys(("role", "event_types", "properties", "created_at", "created_by", "revoked_at"), "")
QUOTED = quote(PASSWORD, safe="")
AT = "2026-01-01T00:00:00.000000Z"


@pytest.fixture(autouse=True)
def catalog_kind(postgresql: URL) -> Iterator[str]:
    """Everything here is about PostgreSQL, in every run."""
    with catalogs.used(postgresql):
        yield catalogs.POSTGRESQL


@pytest.fixture
def place(tmp_path: Path) -> URL:
    found = catalogs.place(tmp_path)
    assert isinstance(found, URL)
    return found


def error_of(act: Callable[[], object]) -> ClearwellError:
    with pytest.raises(ClearwellError) as caught:
        act()
    assert PASSWORD not in str(caught.value)
    return caught.value


# --- transactions -----------------------------------------------------------------------------------------------------


def test_writers_wait_for_each_other(place: URL) -> None:
    """Of two that write, the second sees all that the first has committed, though both began at once."""
    catalog, other = Database(place), Database(place)
    begun, seen = threading.Event(), list[int]()

    def second() -> None:
        begun.set()
        with other.write() as connection:
            seen.append(len(connection.execute(select(models)).all()))

    with catalog.write() as connection:
        thread = threading.Thread(target=second)
        thread.start()
        begun.wait()
        row = {"number": 1, "version": "v", "time_zone": "UTC", "accepted_at": AT}
        connection.execute(insert(models), [row])
        with other.read() as reader:
            assert reader.execute(select(models)).all() == []
    thread.join()
    assert seen == [1]
    catalog.close()
    other.close()


def test_a_writer_does_not_wait_for_ever(place: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is held too long is told as a locked SQLite file is; other schemas are not locked."""
    monkeypatch.setattr(transactions, "BUSY_MILLISECONDS", 50)
    catalog, other = Database(place), Database(place)
    elsewhere = Database(catalog_address(catalogs.schema_url("elsewhere")))
    with catalog.write():
        with elsewhere.write():
            pass
        assert error_of(lambda: other.write().__enter__()).code == "catalog_not_writable"
    for item in (catalog, other, elsewhere):
        item.close()


def test_commits_are_durable(place: URL) -> None:
    """Every connection asks for it, whatever the server's usual is."""
    catalog = Database(place)
    with catalog.write() as connection:
        connection.exec_driver_sql("ALTER ROLE postgres SET synchronous_commit = off")
    catalog.close()
    catalog = Database(place)
    with catalog.write() as connection:
        connection.exec_driver_sql("ALTER ROLE postgres RESET synchronous_commit")
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar_one() == "read committed"
    catalog.close()


def test_a_broken_connection(place: URL) -> None:
    """It is told, nothing of the transaction is there, and the next one has another connection."""
    catalog = Database(place)

    def broken() -> None:
        with catalog.write() as connection:
            connection.execute(insert(models), [{"number": 1, "version": "v", "time_zone": "", "accepted_at": AT}])
            own = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            _end(place, own)

    assert error_of(broken).code == "catalog_unreachable"
    with catalog.read() as connection:
        assert connection.execute(select(models)).all() == []
        own = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    _end(place, own)
    with catalog.read() as connection:
        assert connection.execute(select(models)).all() == []
    catalog.close()


def _end(place: URL, backend: int) -> None:
    """What an administrator does to a connection; returns when it is over."""
    other = Database(place)
    with other.read() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:backend, 10000)"), {"backend": backend})
    other.close()


def test_a_right_that_is_missing(place: URL) -> None:
    """Whoever may only read can ask; what is refused is told as the catalog's fault, not as ours."""
    catalog = Database(place)
    schema = place.query["schema"]
    with catalog.write() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS reader")
        connection.execute(text(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD.replace(':', chr(92) + ':')}'"))
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO reader")
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")
    reading = Database(place.set(username="reader"))
    with reading.read() as connection:
        assert connection.execute(select(models)).all() == []

    def write() -> None:
        with reading.write() as connection:
            connection.execute(models.delete())

    assert error_of(write).code == "catalog_not_writable"
    reading.close()
    with catalog.write() as connection:
        connection.exec_driver_sql("DROP OWNED BY reader")
        connection.exec_driver_sql("DROP ROLE reader")
    catalog.close()


def test_a_mistake_in_a_statement_stays_one(place: URL) -> None:
    """It is no fault of the database."""
    catalog = Database(place)
    with pytest.raises(DBAPIError), catalog.read() as connection:
        connection.exec_driver_sql("SELECT nothing FROM nowhere")
    catalog.close()


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told", ["\0", "\x1b", "\x1b0", "\x1b1", "\0\x1b\0", "\x1b\x1b0\0001", "plain ü", "x" * 10_000]
)
def test_every_text_comes_back(place: URL, told: str) -> None:
    """Also one with NUL, with what NUL is escaped by, and one longer than SQLite's declaration says."""
    catalog = Database(place)
    reason = Reason("code", told, told, told, told, 1)
    with catalog.write() as connection:
        quarantine.put_aside(connection, [(reason, told.encode())], AT)
    with catalog.read() as connection:
        (found,) = quarantine.quarantined(connection)
        named = select(quarantine.quarantine.c.number).where(quarantine.quarantine.c.source == told)
        assert connection.execute(named).scalar_one() == 1
    assert (found.reason, found.record) == (reason, told.encode())
    catalog.close()


def test_texts_are_sorted_by_code_point(place: URL) -> None:
    """Not by a language's rules, by which capital and small letters are mixed."""
    catalog = Database(place)
    names = ["a", "B", "Z", "_", "é", "𝄞", "\uffff"]
    with catalog.write() as connection:
        rows = [{"version": name, "number": place} for place, name in enumerate(names, 1)]
        connection.execute(
            insert(models), [{**row, "time_zone": "", "accepted_at": str(row["number"])} for row in rows]
        )
        found = connection.execute(select(models.c.version).order_by(models.c.version)).scalars().all()
    assert found == sorted(names)
    catalog.close()


# --- one ledger with its folder ---------------------------------------------------------------------------------------


def test_a_folder_and_a_catalog_are_one_ledger(new_ledger: NewLedger, creation: Make, monkeypatch: Any) -> None:
    """Neither a folder with another ledger's catalog is opened, nor one with a catalog that is new."""
    first, second, new = new_ledger(), new_ledger(), new_ledger()
    for item in (first, second):
        item.ingest(creation())
    for url, named in ((_url(second), "is of ledger"), (catalogs.schema_url("a new one"), "has files")):
        monkeypatch.setenv(CATALOG_URL, url)
        for act in (first.status, first.verify, lambda: first.ingest(creation(id="e2"))):
            error = error_of(act)
            assert (error.code, named in error.message) == ("catalog_of_another_ledger", True)
        assert len(list((first.data / "log").iterdir())) == 1
    monkeypatch.setenv(CATALOG_URL, _url(first))
    assert error_of(new.status).code == "catalog_of_another_ledger"
    monkeypatch.delenv(CATALOG_URL)
    assert first.ingest(creation(id="e2")).last_sequence == 2


def test_a_folder_without_its_url(ledger: Ledger, creation: Make, postgresql: URL) -> None:
    """It is not taken for a new ledger; and one with its catalog in a file is not brought elsewhere by a variable."""
    ledger.ingest(creation())
    url = _url(ledger)
    with catalogs.used(None):
        assert error_of(ledger.status).code == "catalog_url_missing"
        assert error_of(lambda: ledger.ingest(creation(id="e2"))).code == "catalog_url_missing"
    assert not (ledger.data / "catalog.sqlite").exists()
    (ledger.data / "catalog.sqlite").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CATALOG_URL, url)
        assert error_of(ledger.status).code == "catalog_in_folder"


def test_a_beginning_that_was_interrupted(ledger: Ledger, creation: Make) -> None:
    """A folder that has got its id, and a catalog that has not yet, become one ledger."""
    ledger.data.mkdir()
    (ledger.data / "ledger-id").write_text("1" * 32)
    ledger.ingest(creation())
    assert known_ledger(catalog_address(_url(ledger))) == "1" * 32


def test_a_question_to_a_new_project_makes_nothing(ledger: Ledger) -> None:
    """Neither a file nor a schema."""
    with ledger.open() as workspace:
        assert workspace.periods() == []
    assert not ledger.data.exists()
    assert known_ledger(catalog_address(_url(ledger))) is None


def _url(ledger: Ledger) -> str:
    return catalogs.url_for(ledger.folder, ledger.data)


# --- backups ----------------------------------------------------------------------------------------------------------


def test_a_backup_is_restored_into_postgresql(
    ledger: Ledger, creation: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is there, the ledger is another one, and an interrupted restoring can be repeated; a second refuses."""
    ledger.ingest(creation(), b"\xff", b'{"a": "\\u0000"}')
    with ledger.open() as workspace:
        with workspace.catalog.write() as connection:
            access.add_key(connection, KEY | {"name": "first", "secret_hash": "1"})
        backing_up.back_up(workspace, tmp_path / "kept")
    url = catalogs.schema_url("restored")
    moved = restoring.sync_names
    monkeypatch.setattr(restoring, "sync_names", _failing)
    with pytest.raises(StorageError):
        restoring.restore(tmp_path / "kept", tmp_path / "again", catalog_url=url)
    begun = known_ledger(catalog_address(url))
    assert begun is not None
    monkeypatch.setattr(restoring, "sync_names", moved)
    restoring.restore(tmp_path / "kept", tmp_path / "again", catalog_url=url)
    assert known_ledger(catalog_address(url)) == begun != (ledger.data / "ledger-id").read_text()
    assert not (tmp_path / "again" / "data" / "catalog.sqlite").exists()
    monkeypatch.setenv(CATALOG_URL, url)
    again = type(ledger)(tmp_path / "again", ledger.clock)
    assert again.fault_codes() == set()
    assert again.ingest(creation()).duplicates == 1
    assert again.ingest(creation(id="e2")).last_sequence == 2
    with again.open() as workspace, workspace.catalog.write() as connection:
        assert access.add_key(connection, KEY | {"name": "second", "secret_hash": "2"})
    error = error_of(lambda: restoring.restore(tmp_path / "kept", tmp_path / "other", catalog_url=url))
    assert error.code == "restore_not_empty"


def _failing(_folder: Path) -> None:
    raise OSError("the power is gone")


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        f"postgresql://user:{PASSWORD}@host/shop",
        f"postgresql://user:{QUOTED}@host/",
        f"mysql://user:{PASSWORD}@host/shop",
        f"{PASSWORD}",
        f"postgresql://user:{QUOTED}@host:port/shop",
        f"postgresql://user:{QUOTED}@host/shop?schema=Shop",
        f"postgresql://user:{QUOTED}@host/shop?schema=a;b",
        f"postgresql://user:{QUOTED}@host/shop?schema=pg_catalog",
        f"postgresql://user:{QUOTED}@host/shop?schema=a&schema=b",
        f"postgresql://user:{QUOTED}@host/shop?options=-cfsync%3Doff",
    ],
)
def test_an_address_that_is_none(given: str) -> None:
    """It is refused without being shown."""
    error = error_of(lambda: catalog_address(given))
    assert isinstance(error, UsageError)
    assert error.code == "catalog_url_invalid"


@pytest.mark.parametrize("query", ["", "&password={}"])
def test_a_password_is_never_told(place: URL, query: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by an error of the server, and not by what shows a project."""
    wrong = f"another{PASSWORD}"
    given = place.set(drivername="postgresql", password=None if query else wrong)
    url = given.render_as_string(hide_password=False) + query.format(quote(wrong, safe=""))
    monkeypatch.setenv(CATALOG_URL, url)
    error = error_of(ledger.status)
    assert error.code == "catalog_unreachable"
    with open_workspace(ledger.folder) as workspace:
        assert PASSWORD not in repr(workspace)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """It is told by name."""
    error = error_of(lambda: Database(catalog_address(f"postgresql://user:{QUOTED}@/shop?host={tmp_path}")))
    assert error.code == "catalog_unreachable"
    assert f"{tmp_path}/shop, schema clearwell" in error.message


def test_a_schema_with_other_tables(place: URL) -> None:
    """It is not mixed with a catalog."""
    catalog = Database(place)
    with catalog.write() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    catalog.close()
    assert error_of(lambda: Database(place)).code == "catalog_schema_taken"
