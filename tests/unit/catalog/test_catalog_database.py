"""The catalog: it has the tables its migrations make, a newer one is refused, and a transaction is all or nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

import catalogs
from clearwell.catalog import database, models, quarantine
from clearwell.catalog.database import Database, Place
from clearwell.catalog.models import ModelPeriod
from clearwell.catalog.quarantine import Reason
from clearwell.catalog.tables import metadata
from clearwell.errors import StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file, or a schema of PostgreSQL, that is not there yet."""
    return catalogs.place(tmp_path)


def test_head_is_the_newest_migration() -> None:
    """The version that the code asks for is the one head of the migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [database.HEAD]


@pytest.mark.catalog_file
def test_a_new_catalog_is_as_the_migrations_make_it(path: Path, tmp_path: Path) -> None:
    """A catalog that is made at once has, to the letter, what a migrated one has; only a renamed table has quotes."""
    migrated = tmp_path / "migrated.sqlite"
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{migrated}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    Database(path).close()
    assert _definitions(path) == _definitions(migrated)


def _definitions(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, replace(sql, char(34), '') FROM sqlite_master ORDER BY 1, 2")
        return [*rows, *connection.execute("SELECT version_num FROM alembic_version")]


def test_a_catalog_has_the_declared_tables(place: Place) -> None:
    """A new catalog has the tables, columns and indexes that the code declares, and nothing else.

    In PostgreSQL it has one more, by which it knows its data folder.
    """
    catalog = Database(place)
    with catalog.read() as connection:
        expected = {*metadata.tables, "alembic_version", *([] if isinstance(place, Path) else ["ledger"])}
        assert set(inspect(connection).get_table_names()) == expected
        opts = {"compare_type": True, "include_name": lambda name, *_: name != "ledger"}
        context = MigrationContext.configure(connection, opts=opts)
        assert context.get_current_revision() == database.HEAD
        assert compare_metadata(context, metadata) == []
    catalog.close()


def test_a_catalog_of_a_later_version_is_refused(place: Place) -> None:
    """An older program says that it is too old, and changes nothing."""
    catalog = Database(place)
    with catalog.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    catalog.close()
    before = place.read_bytes() if isinstance(place, Path) else b""
    with pytest.raises(StorageError) as caught:
        Database(place)
    assert caught.value.code == "catalog_too_new"
    assert not isinstance(place, Path) or place.read_bytes() == before


@pytest.mark.catalog_file
@pytest.mark.parametrize("content", [b"no database at all, but long enough to look at" * 100, b"short"])
def test_a_damaged_catalog_is_a_storage_error(path: Path, content: bytes) -> None:
    """A file that is no database is named, and left as it is."""
    path.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        Database(path)
    assert caught.value.code == "catalog_unusable"
    assert path.read_bytes() == content


@pytest.mark.catalog_file
def test_durability_is_asked_for(path: Path) -> None:
    """Every connection writes ahead and syncs fully."""
    catalog = Database(path)
    with catalog.write() as connection:
        asked = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("journal_mode", "synchronous")
        }
    assert asked == {"journal_mode": "wal", "synchronous": 2}
    catalog.close()


def test_a_failed_transaction_leaves_nothing(place: Place) -> None:
    """What was written in a block that raises is not there afterwards, and readers never saw it."""
    catalog = Database(place)
    reason = Reason("type_missing", "type", "an event type", "nothing", "file", 1)

    def fail() -> None:
        with catalog.write() as connection:
            period = ModelPeriod(1, "v1", "UTC", "2026-01-01T00:00:00.000000Z")
            models.put_in_force(connection, period, {"flow.yaml": "flow"})
            quarantine.put_aside(connection, [(reason, b"{}")], "2026-01-01T00:00:00.000000Z")
            with catalog.read() as other:
                assert models.model_periods(other) == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with catalog.read() as connection:
        assert models.model_periods(connection) == []
        assert models.model_texts(connection, "v1") == {}
        assert quarantine.quarantined(connection) == []
    catalog.close()


@pytest.mark.parametrize("record", [b"{}", b"\xff\x00\xfe", "ü\x1f".encode(), b"a\x00b", b""])
def test_a_record_in_quarantine_is_kept_byte_for_byte(place: Place, record: bytes) -> None:
    """Whatever the bytes are, they come back the same."""
    catalog = Database(place)
    reason = Reason("record_unreadable", "record", "UTF-8", "\x00\x1f'", "file", 2**40)
    with catalog.write() as connection:
        quarantine.put_aside(connection, [(reason, record)], "2026-01-01T00:00:00.000000Z")
    with catalog.read() as connection:
        (found,) = quarantine.quarantined(connection)
    assert (found.record, found.reason) == (record, reason)
    catalog.close()


@pytest.mark.parametrize(("code", "kept"), [("property_missing", "first"), ("amount_missing", "second")])
def test_a_record_seen_again_keeps_its_reason_unless_the_code_is_another(place: Place, code: str, kept: str) -> None:
    """The same record from the same place is counted; its particulars change together with its code, and only then."""
    catalog = Database(place)
    with catalog.write() as connection:
        for day, seen_code, told in ((1, "property_missing", "first"), (2, code, "second")):
            reason = Reason(seen_code, f"field {told}", f"expected {told}", f"found {told}", "file", 1)
            quarantine.put_aside(connection, [(reason, b"{}")], f"2026-01-0{day}T00:00:00.000000Z")
        (found,) = quarantine.quarantined(connection)
    assert found.reason == Reason(code, f"field {kept}", f"expected {kept}", f"found {kept}", "file", 1)
    assert (found.seen_count, found.first_seen_at[:10], found.last_seen_at[:10]) == (2, "2026-01-01", "2026-01-02")
    catalog.close()


def test_texts_of_models_are_kept_once_and_periods_all(place: Place) -> None:
    """A model that comes into force again begins a new period; its texts, and texts it shares, are stored once."""
    catalog = Database(place)
    begun = [
        ModelPeriod(number, version, zone, f"2026-01-0{number}T00:00:00.000000Z")
        for number, version, zone in ((1, "v1", "UTC"), (2, "v2", "UTC"), (3, "v1", "America/Sao_Paulo"))
    ]
    texts = {"v1": {"a.yaml": "A", "b.yaml": "B"}, "v2": {"a.yaml": "A", "b.yaml": "B2"}}
    with catalog.write() as connection:
        for period in begun:
            models.put_in_force(connection, period, texts[period.version])
        assert connection.execute(text("SELECT count(*) FROM flow_texts")).scalar_one() == 3
        assert models.model_periods(connection) == begun
        assert models.model_texts(connection, "v2") == texts["v2"]
    catalog.close()
