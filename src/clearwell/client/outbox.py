"""A transactional outbox: events are rows of the producer's own database, written in the transaction of what they tell.

So the one is there exactly when the other is. A relay publishes the rows and marks them; it may do so twice, and since
an event has an identity, it is in the log once. The tables are the producer's: nothing here migrates them.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    Executable,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import OperationalError

from clearwell.client.blocking import Client
from clearwell.client.events import Publishable, as_lines
from clearwell.client.exchange import Patience, Published
from clearwell.errors import ClearwellError, OverloadError, StorageError, UsageError

_LOCKING = {"postgresql", "mysql", "mariadb", "oracle"}
"""Where locked rows are passed over. Elsewhere two relays may publish the same rows, which count once."""

_NUMBER = BigInteger().with_variant(Integer, "sqlite")
_TEXT_LENGTH = 500


class Executing(Protocol):
    """A SQLAlchemy `Connection` or `Session`."""

    def execute(self, statement: Executable, /, *arguments: Any) -> Any:
        """Execute in its transaction."""


@dataclass(frozen=True)
class RefusedRow:
    """An event of the outbox that the service refused: it waits for a person."""

    id: int
    line: str
    code: str
    message: str


class Outbox:
    """The table of events that are to be published."""

    def __init__(self, metadata: MetaData | None = None, name: str = "clearwell_outbox") -> None:
        """Define the table `name` in `metadata`, so that the producer's own migrations make it."""
        self.table = Table(
            name,
            metadata if metadata is not None else MetaData(),
            Column("id", _NUMBER, primary_key=True, autoincrement=True),
            Column("event", Text, nullable=False),
            Column("added_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
            Column("sent_at", DateTime(timezone=True)),
            Column("refused_code", String(100)),
            Column("refused_message", String(_TEXT_LENGTH)),
        )
        columns = self.table.c
        self._waits = columns.sent_at.is_(None) & columns.refused_code.is_(None)
        Index(f"{name}_waits", columns.id, postgresql_where=self._waits, sqlite_where=self._waits)
        Index(f"{name}_sent", columns.sent_at)

    def create(self, engine: Engine) -> None:
        """Make the table where it is not there, for whoever has no migrations."""
        self.table.metadata.create_all(engine, tables=[self.table])

    def add(self, transaction: Executing, events: Publishable | Iterable[Publishable]) -> None:
        """Write events in the transaction of a connection or a session. They are published once it has committed.

        Raises UsageError (`event_invalid`) before anything is written.
        """
        rows = [{"event": line.decode()} for line in as_lines(events)]
        if rows:
            transaction.execute(insert(self.table), rows)

    def waiting(self, transaction: Executing) -> int:
        """How many events wait to be published."""
        count: int = transaction.execute(select(func.count()).select_from(self.table).where(self._waits)).scalar_one()
        return count

    def refused(self, transaction: Executing) -> list[RefusedRow]:
        """The events that the service refused, in their order."""
        columns = self.table.c
        chosen = select(self.table).where(columns.refused_code.is_not(None)).order_by(columns.id)
        return [
            RefusedRow(row["id"], row["event"], row["refused_code"], row["refused_message"])
            for row in transaction.execute(chosen).mappings()
        ]

    def retry(self, transaction: Executing, number: int, event: Publishable | None = None) -> None:
        """Have a refused event published again, as it is or mended. Raises UsageError (`outbox_row_unknown`)."""
        columns = self.table.c
        values: dict[str, Any] = {"refused_code": None, "refused_message": None}
        if event is not None:
            values["event"] = as_lines(event)[0].decode()
        chosen = update(self.table).where(columns.id == number, columns.refused_code.is_not(None))
        if transaction.execute(chosen.values(values)).rowcount != 1:
            raise UsageError("outbox_row_unknown", f"expected the number of a refused event, found {number}")

    def next(self, connection: Connection, most: int) -> Sequence[RowMapping]:
        """The first rows that wait and that no other relay has."""
        columns = self.table.c
        chosen = select(columns.id, columns.event).where(self._waits).order_by(columns.id).limit(most)
        if connection.dialect.name in _LOCKING:
            chosen = chosen.with_for_update(skip_locked=True)
        return connection.execute(chosen).mappings().all()

    def settle(
        self, connection: Connection, sent: Sequence[int], refused: Mapping[int, tuple[str, str]], now: datetime
    ) -> None:
        """Mark rows: those that are durable in the log, and those that were refused, with code and message."""
        columns = self.table.c
        if sent:
            connection.execute(update(self.table).where(columns.id.in_(sent), self._waits).values(sent_at=now))
        for number, (code, message) in refused.items():
            values = {"refused_code": code[:100], "refused_message": message[:_TEXT_LENGTH]}
            connection.execute(update(self.table).where(columns.id == number, self._waits).values(values))

    def purge(self, connection: Connection, before: datetime, most: int) -> int:
        """Remove rows that were sent before an instant, at most so many; returns how many."""
        columns = self.table.c
        chosen = connection.execute(
            select(columns.id).where(columns.sent_at < before).order_by(columns.sent_at).limit(most)
        )
        numbers = list(chosen.scalars())
        if numbers:
            connection.execute(delete(self.table).where(columns.id.in_(numbers)))
        return len(numbers)


@dataclass(frozen=True)
class RelayOptions:
    """`batch_events` are published at a time; sent rows are kept for `keep`; an empty outbox is asked again after
    `poll_seconds`."""

    batch_events: int = 1_000
    keep: timedelta = timedelta(days=7)
    poll_seconds: float = 1.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Relayed:
    """What one run did: rows that are in the log, rows that were refused, and sent ones that were removed."""

    sent: int = 0
    refused: int = 0
    purged: int = 0


def _now() -> datetime:
    return datetime.now(UTC)


class Relay:
    """Publishes an outbox. Several may run: each has rows of its own where the database locks rows."""

    def __init__(
        self,
        engine: Engine,
        client: Client,
        outbox: Outbox | None = None,
        *,
        options: RelayOptions | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Publish what is in the `outbox` of the database of `engine`."""
        self._engine, self._client = engine, client
        self._outbox = outbox or Outbox()
        self._options = options or RelayOptions()
        self._clock = clock

    def run_once(self) -> Relayed:
        """Publish the first rows that wait, in the order of their numbers, and mark them.

        Rows are chosen by what they lack, `sent_at`, and not by a number up to which all was sent: transactions commit
        in another order than they take their numbers, and a row that comes late has a low one.

        Raises as `Client.publish` with `apart`; then nothing is marked, and the next run publishes the same rows.
        """
        most = self._options.batch_events
        with self._engine.connect() as connection:
            rows = self._outbox.next(connection, most)
            if connection.dialect.name not in _LOCKING:
                connection.rollback()  # Or it would keep others from writing while this one waits for the service.
            sent, refused = self._published(rows) if rows else ([], {})
            now = self._clock()
            self._outbox.settle(connection, sent, refused, now)
            purged = self._outbox.purge(connection, now - self._options.keep, most)
            connection.commit()
        return Relayed(len(sent), len(refused), purged)

    def run(self, stop: threading.Event | None = None, wait: Callable[[float], Any] | None = None) -> None:
        """Publish until `stop` is set, for ever without it. `wait` waits for so many seconds, or until `stop`.

        What passes is met by another run after a pause: the service or the database is away. Raises the errors of
        `run_once` that do not pass: a wrong key, say.
        """
        stop = stop or threading.Event()
        wait = wait or stop.wait
        attempt = 0
        while not stop.is_set():
            try:
                relayed = self.run_once()
            except (StorageError, OverloadError, OperationalError):
                wait(self._options.patience.pause_seconds(attempt, 0.0, random.random()))  # noqa: S311
                attempt += 1
                continue
            attempt = 0
            if relayed == Relayed():
                wait(self._options.poll_seconds)

    def _published(self, rows: Sequence[RowMapping]) -> tuple[list[int], dict[int, tuple[str, str]]]:
        """Publish rows; returns the numbers of those that are durable, and why the others are refused."""
        refused: dict[int, tuple[str, str]] = {}
        numbers, events = list[int](), list[dict[str, Any]]()
        for row in rows:
            try:
                event = json.loads(row["event"])
                as_lines(event)
            except (ValueError, ClearwellError) as error:  # Written by another hand than `add`.
                refused[row["id"]] = ("event_invalid", str(error))
            else:
                numbers.append(row["id"])
                events.append(event)
        published = self._client.publish(events, apart=True) if events else Published()
        for item in published.refused:
            refused[numbers[item.index]] = (item.code, item.message)
        return [number for number in numbers if number not in refused], refused
