"""Copies a catalog while others use it, also from one database to another, and reads such a copy without writing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, delete, insert, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from clearwell.catalog.tables import metadata
from clearwell.errors import StorageError

_ROWS_AT_ONCE = 100  # Few, for a record in quarantine can be large.
_WAIT_SECONDS = 10.0
_SOURCE_IS_BROKEN = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_BUSY", "SQLITE_LOCKED"}


def copy_database(source: Path, target: Path) -> None:
    """Write the SQLite database `source`, as it is at one instant, into one new file, durably. Writers need not stop.

    Raises StorageError (`database_not_copied`) when the source cannot be read or is damaged, OSError when the target
    cannot be written.
    """
    try:
        with closing(sqlite3.connect(_address(source, "mode=rw"), uri=True, timeout=_WAIT_SECONDS)) as original:
            original.execute("SELECT count(*) FROM sqlite_master")
            _write_copy(original, target)
    except sqlite3.Error as error:
        raise StorageError("database_not_copied", f"{source} cannot be copied: {error}") from error
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _write_copy(original: sqlite3.Connection, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(target)) as copy:
            copy.execute("PRAGMA synchronous=OFF")  # It is synced as a whole.
            original.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # One file, without a write-ahead log beside it.
            found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        if error.sqlite_errorname in _SOURCE_IS_BROKEN:
            raise
        raise OSError(f"{target}: {error}") from error
    if found != "ok":
        raise sqlite3.DatabaseError(f"it is damaged: {found}")


def copy_rows(source: Connection, target: Path, create: Callable[[Connection], None]) -> None:
    """Write every row of the catalog that `source` reads into one new SQLite file, durably; `create` makes its tables.

    Raises OSError when the target cannot be written.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    engine = create_engine(f"sqlite:///{target}", poolclass=NullPool, hide_parameters=True)
    try:
        with engine.begin() as copy:
            create(copy)
            put_rows(source, copy)
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise OSError(f"{target}: {error.orig}") from error
        raise
    finally:
        engine.dispose()
    with target.open("rb") as file:
        os.fsync(file.fileno())


def put_rows(source: Connection, target: Connection) -> None:
    """Put every row of the catalog that `source` reads in the place of what the catalog of `target` holds."""
    for table in reversed(metadata.sorted_tables):
        target.execute(delete(table))
    for table in metadata.sorted_tables:
        pages = source.execute(select(table).execution_options(yield_per=_ROWS_AT_ONCE)).mappings().partitions()
        for page in pages:
            target.execute(insert(table), [dict(row) for row in page])


@contextmanager
def reading_copy(path: Path) -> Iterator[Connection]:
    """A connection to a database file that nobody writes to meanwhile; nothing is written, also no file beside it.

    Raises StorageError (`database_unreadable`) when it is none, or lacks what is asked for.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(_address(path, "mode=ro&immutable=1"), uri=True),
        poolclass=NullPool,
    )
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise StorageError("database_unreadable", f"{path} cannot be read: {error.orig}") from error
    finally:
        engine.dispose()


def _address(path: Path, how: str) -> str:
    return f"file:{quote(str(path))}?{how}"
