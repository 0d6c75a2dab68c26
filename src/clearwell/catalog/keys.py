"""The keys of subjects, in a file of their own: whoever has it can read personal values, so it is nobody else's.

A forgotten subject keeps its row, without its key, so that it stays forgotten. Subjects are known by a keyed hash only.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, text

from clearwell.catalog.sqlite import SqliteFile
from clearwell.errors import StorageError
from clearwell.values.encrypted import KEY_BYTES, SubjectKey, Unreadable

FORMAT = 1
"""The file's `user_version`: goes up when its tables change."""

_DESTROYED = bytes(KEY_BYTES)
_IDENTIFIER_BYTES = 12
_SECRET_BYTES = 32

_TABLES = """
CREATE TABLE file_secret (secret BLOB NOT NULL);
CREATE TABLE subjects (
    number INTEGER PRIMARY KEY, identifier TEXT NOT NULL UNIQUE, subject_hash TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL, forgotten_at TEXT
);
CREATE TABLE subject_keys (number INTEGER PRIMARY KEY REFERENCES subjects, secret BLOB NOT NULL);
"""
"""Keys are apart, appended, and all of one size: so SQLite never moves one on its pages, where it could leave a copy,
and destroying a key writes zeros over the only place where it is."""

_FIND = """
SELECT subjects.subject_hash, subjects.identifier, subject_keys.secret, subjects.forgotten_at
FROM json_each(:wanted) AS wanted
JOIN subjects ON subjects.{column} = wanted.value JOIN subject_keys USING (number)
"""


class KeyState(StrEnum):
    """What became of a subject's key, or what it is now."""

    KEPT = "kept"
    DESTROYED = "destroyed"
    DESTROYED_BEFORE = "destroyed_before"
    NEVER_SEEN = "never_seen"


Key = SubjectKey | Unreadable


class SubjectKeys:
    """The file of keys, `keys.sqlite`. Any number of processes may use it."""

    def __init__(self, path: Path, random_bytes: Callable[[int], bytes]) -> None:
        """Open, or create, the file at `path`, for its owner alone; `random_bytes` gives what nobody can guess.

        Raises StorageError when the file cannot be used.
        """
        self._random_bytes = random_bytes
        _create(path)
        self._file = SqliteFile(path, "keys", ["secure_delete=ON"])
        with self._file.read() as connection:
            version = _version(connection)
        if version != FORMAT:
            with self._file.write() as connection:
                self._prepare(connection)
        with self._file.read() as connection:
            self._secret: bytes = connection.exec_driver_sql("SELECT secret FROM file_secret").scalar_one()

    def for_subjects(self, subjects: Sequence[str], seen_at: str) -> dict[str, Key]:
        """The key of each of these different subjects; one that is new gets a key, durable when this returns.

        A subject that was forgotten has ERASED. Raises StorageError when a key cannot be written.
        """
        hashes = {self._hash(subject): subject for subject in subjects}
        with self._file.read() as connection:
            found = _keys(connection, "subject_hash", list(hashes))
        if len(found) < len(hashes):
            with self._file.write() as connection:
                found = _keys(connection, "subject_hash", list(hashes))
                missing = [item for item in hashes if item not in found]
                found |= self._add(connection, {item: self._random_bytes(KEY_BYTES) for item in missing}, seen_at)
        return {hashes[item]: key for item, (_, key) in found.items()}

    def of_subject(self, subject: str) -> Key | None:
        """The key of a subject: ERASED when it was forgotten, None when it was never seen."""
        with self._file.read() as connection:
            found = _keys(connection, "subject_hash", [self._hash(subject)])
        return next((key for _, key in found.values()), None)

    def by_identifier(self, identifiers: Sequence[str]) -> dict[str, Key]:
        """The keys that have these identifiers; one that the file does not know is missing."""
        with self._file.read() as connection:
            return dict(_keys(connection, "identifier", identifiers).values())

    def forget(self, subject: str, forgotten_at: str) -> KeyState:
        """Destroy the key of a subject; one that was never seen is remembered as forgotten. Can be repeated.

        Raises StorageError (`erasure_incomplete`) when somebody else uses the file, whose log then still holds the key.
        """
        hashed = self._hash(subject)
        with self._file.write() as connection:
            found = _keys(connection, "subject_hash", [hashed])
            if not found:
                self._add(connection, {hashed: _DESTROYED}, forgotten_at, forgotten_at)
                state = KeyState.NEVER_SEEN
            elif found[hashed][1] is Unreadable.ERASED:
                state = KeyState.DESTROYED_BEFORE
            else:
                _destroy(connection, hashed, forgotten_at)
                state = KeyState.DESTROYED
        if reason := self._file.settle():
            message = f"the key is destroyed, but {self._file.path.name}-wal may still hold it ({reason}): try again"
            raise StorageError("erasure_incomplete", message)
        return state

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _prepare(self, connection: Connection) -> None:
        version = _version(connection)
        if version > FORMAT:
            message = f"the keys have format {version}, this Clearwell knows up to {FORMAT}: upgrade Clearwell"
            raise StorageError("keys_too_new", message)
        if not version:
            for statement in _TABLES.split(";"):
                connection.exec_driver_sql(statement)
            secret = self._random_bytes(_SECRET_BYTES)
            connection.execute(text("INSERT INTO file_secret VALUES (:secret)"), {"secret": secret})
            connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT}")

    def _hash(self, subject: str) -> str:
        return hmac.digest(self._secret, subject.encode(), "sha256").hex()

    def _add(
        self, connection: Connection, secrets: dict[str, bytes], created_at: str, forgotten_at: str | None = None
    ) -> dict[str, tuple[str, Key]]:
        if not secrets:
            return {}
        last: int = connection.exec_driver_sql("SELECT coalesce(max(number), 0) FROM subjects").scalar_one()
        identifiers = {hashed: self._random_bytes(_IDENTIFIER_BYTES).hex() for hashed in secrets}
        subjects = [
            (number, identifier, hashed, created_at, forgotten_at)
            for number, (hashed, identifier) in enumerate(identifiers.items(), last + 1)
        ]
        connection.exec_driver_sql("INSERT INTO subjects VALUES (?, ?, ?, ?, ?)", subjects)
        keys = list(enumerate(secrets.values(), last + 1))
        connection.exec_driver_sql("INSERT INTO subject_keys VALUES (?, ?)", keys)
        return {
            hashed: (identifier, SubjectKey(identifier, secrets[hashed])) for hashed, identifier in identifiers.items()
        }


def _version(connection: Connection) -> int:
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    return version


def _keys(connection: Connection, column: str, wanted: Sequence[str]) -> dict[str, tuple[str, Key]]:
    """By subject hash: the identifier and the key of those that are here."""
    rows = connection.execute(text(_FIND.format(column=column)), {"wanted": json.dumps(list(wanted))})
    return {
        hashed: (identifier, Unreadable.ERASED if forgotten_at else SubjectKey(identifier, secret))
        for hashed, identifier, secret, forgotten_at in rows
    }


def _destroy(connection: Connection, hashed: str, forgotten_at: str) -> None:
    chosen = "number = (SELECT number FROM subjects WHERE subject_hash = :hashed)"
    connection.execute(
        text(f"UPDATE subject_keys SET secret = :zeros WHERE {chosen}"), {"zeros": _DESTROYED, "hashed": hashed}
    )
    connection.execute(
        text("UPDATE subjects SET forgotten_at = :at WHERE subject_hash = :hashed"),
        {"at": forgotten_at, "hashed": hashed},
    )


def _create(path: Path) -> None:
    """Make the file when it is not there, for its owner alone, and its name durable: SQLite gives its log the rights
    of the file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
