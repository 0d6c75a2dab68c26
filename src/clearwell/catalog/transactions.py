"""Transactions of a database, wherever it is: all or nothing, durable, and one at a time of those that write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

BUSY_MILLISECONDS = 10_000
"""So long a transaction waits for one of another process."""


class Transactions:
    """The transactions of one database, which `name` tells people; `what` it is begins the codes of its errors."""

    def __init__(self, engine: Engine, what: str, name: str) -> None:
        """Nothing is opened yet."""
        self.engine = engine
        self.name = name
        self._what = what

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits, durably, when the block ends without an exception.

        Raises StorageError when the database refuses, as when its disk is full, another process holds it, or it cannot
        be reached. Then nothing was committed; only where the connection broke off may all of it have been.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self.told(error, "not_writable", "written") from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, which takes no write lock. Raises StorageError when it cannot be read."""
        try:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                yield connection
        except DBAPIError as error:
            raise self.told(error, "unusable", "read") from error

    def told(self, error: DBAPIError, code: str, act: str) -> Exception:
        """The error for the caller: what the database refuses is no mistake in a statement, which stays as it is."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the connections."""
        self.engine.dispose()
