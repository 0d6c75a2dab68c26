"""The lease of the log's one writer: a fencing number in the catalog that every commit of the writer is held against.

A writer that was paused or cut off, so that another has taken the lease over, cannot commit any more: its number is no
longer the newest. Clocks only decide how soon a lease can be taken over, never whether a commit is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from clearwell.catalog.database import Database
from clearwell.catalog.tables import writer_lease
from clearwell.errors import StorageError
from clearwell.values.times import stored_text

LEASE = timedelta(seconds=30)
"""How long a lease lasts without being renewed."""


class WriterLease:
    """The right to write to a log. `holder` names who has it; `clock` gives the present instant."""

    def __init__(self, catalog: Database, holder: str, clock: Callable[[], datetime]) -> None:
        """Nothing is taken yet: see `acquire`."""
        self._catalog = catalog
        self.holder = holder
        self._clock = clock
        self.fencing_number = 0

    def acquire(self, is_gone: Callable[[str], bool]) -> None:
        """Take the lease. `is_gone` tells of a holder whether it has certainly ended.

        Raises StorageError (`writer_busy`) while another holder has it and may be alive.
        """
        with self._catalog.write() as connection:
            row = connection.execute(select(writer_lease)).mappings().first()
            if row is None:
                connection.execute(insert(writer_lease), [{"fencing_number": 0, "holder": "", "expires_at": ""}])
                before = 0
            else:
                before = row["fencing_number"]
                if row["holder"] and self._is_live(row["expires_at"]) and not is_gone(row["holder"]):
                    raise StorageError(
                        "writer_busy",
                        f"another process is writing to this log ({row['holder']}, until {row['expires_at']} unless it "
                        "goes on); try again when it has finished",
                    )
            self.fencing_number = before + 1
            connection.execute(
                update(writer_lease).values(
                    fencing_number=self.fencing_number, holder=self.holder, expires_at=self._expiry()
                )
            )

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction of the catalog that commits only while this is still the newest lease, and renews it.

        Raises StorageError: `writer_lease_lost`, or as `Database.write` does. Then nothing has been committed.
        """
        with self._catalog.write() as connection:
            self._require(connection)
            connection.execute(update(writer_lease).values(expires_at=self._expiry()))
            yield connection

    def renew(self) -> None:
        """Put the end of the lease off. Raises as `write` does."""
        with self.write():
            pass

    def release(self) -> None:
        """Give the lease back. Does nothing when it is lost or the catalog cannot be written: then it runs out."""
        with suppress(StorageError), self.write() as connection:
            connection.execute(update(writer_lease).values(holder="", expires_at=""))

    def _require(self, connection: Connection) -> None:
        row = connection.execute(select(writer_lease)).mappings().one()
        if row["fencing_number"] != self.fencing_number:
            raise StorageError(
                "writer_lease_lost",
                f"another process has taken the log over (fencing number {row['fencing_number']}, this one has "
                f"{self.fencing_number}): nothing more was committed here. Run the command again",
            )

    def _is_live(self, expires_at: str) -> bool:
        """Whether a lease has not run out. One that ends later than any lease can is from before a clock went back."""
        now = self._clock()
        return stored_text(now) < expires_at <= stored_text(now + LEASE)

    def _expiry(self) -> str:
        return stored_text(self._clock() + LEASE)


def clear_lease(catalog: Database) -> None:
    """Let nobody have the lease, as in the copy of a catalog, whose writer goes on elsewhere. The number stays."""
    with catalog.write() as connection:
        connection.execute(update(writer_lease).values(holder="", expires_at=""))


def is_held(connection: Connection, fencing_number: int) -> bool:
    """Whether the lease of this number is the newest, so that its writer may commit."""
    return connection.execute(select(writer_lease.c.fencing_number)).scalar_one_or_none() == fencing_number
