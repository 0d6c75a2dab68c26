"""Copies a database while others use it, and reads such a copy without writing to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from clearwell.errors import StorageError

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
