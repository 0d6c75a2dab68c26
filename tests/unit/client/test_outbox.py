"""The outbox in SQLite: an event is there exactly when its commit is, and is published until it is marked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, insert, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from clearwell.client.blocking import Client
from clearwell.client.exchange import Means
from clearwell.client.outbox import Outbox, Relay, Relayed, RelayOptions
from clearwell.client.sending import ClientOptions
from clearwell.errors import AccessError, StorageError, UsageError
from faulty_service import FaultyService, Moments, event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return create_engine(f"sqlite:///{tmp_path / 'producer.sqlite'}")


@pytest.fixture
def outbox(engine: Engine) -> Outbox:
    made = Outbox()
    made.create(engine)
    return made


def relay_of(engine: Engine, outbox: Outbox, service: FaultyService, **options: Any) -> Relay:
    moments = Moments()
    means = Means(moments.clock, moments.sleep, lambda: 1.0)
    client = Client(
        "http://service", "cw_key", transport=service.transport, means=means, options=ClientOptions(deadline_seconds=3)
    )
    return Relay(engine, client, outbox, options=RelayOptions(**options), clock=lambda: NOW)


def waiting(engine: Engine, outbox: Outbox) -> int:
    with engine.connect() as connection:
        return outbox.waiting(connection)


def test_an_event_is_there_when_its_commit_is(engine: Engine) -> None:
    """In the producer's own metadata; a transaction that is rolled back leaves neither the charge nor the event."""
    metadata = MetaData()
    charges = Table("charges", metadata, Column("id", Integer, primary_key=True))
    outbox = Outbox(metadata, "events_to_publish")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(charges), {"id": 1})
        outbox.add(connection, event(1))
    with Session(engine) as session, session.begin() as transaction:
        session.execute(insert(charges), {"id": 2})
        outbox.add(session, [event(2), event(3)])
        transaction.rollback()
    with Session(engine) as session, session.begin():
        outbox.add(session, event(4))
    service = FaultyService()
    assert relay_of(engine, outbox, service).run_once() == Relayed(sent=2)
    assert service.log == {"evt_1": 1, "evt_4": 1}
    with engine.connect() as connection:
        assert list(connection.execute(select(charges.c.id)).scalars()) == [1]


def test_what_is_no_event_is_refused_before_it_is_written(engine: Engine, outbox: Outbox) -> None:
    """The producer's transaction sees the mistake, and can be rolled back."""
    with pytest.raises(UsageError), engine.begin() as connection:
        outbox.add(connection, [event(1), event(2, id="")])
    assert waiting(engine, outbox) == 0


def test_rows_go_in_order_and_in_batches(engine: Engine, outbox: Outbox) -> None:
    """Of so many at a time, in the order of their numbers, until none waits."""
    with engine.begin() as connection:
        outbox.add(connection, [event(number) for number in range(5)])
    service = FaultyService()
    relay = relay_of(engine, outbox, service, batch_events=2)
    assert [relay.run_once().sent for _ in range(4)] == [2, 2, 1, 0]
    assert list(service.log) == [f"evt_{number}" for number in range(5)]


def test_an_acknowledgement_that_was_lost_doubles_nothing(engine: Engine, outbox: Outbox) -> None:
    """The relay fails after the service took the events in: nothing is marked, and the next run's are duplicates."""
    with engine.begin() as connection:
        outbox.add(connection, [event(1), event(2)])
    service = FaultyService(["lost", *["reset"] * 50])
    with pytest.raises(StorageError):
        relay_of(engine, outbox, service).run_once()
    assert waiting(engine, outbox) == 2
    healed = FaultyService(log=service.log)
    assert relay_of(engine, outbox, healed).run_once() == Relayed(sent=2)
    assert healed.log == {"evt_1": 1, "evt_2": 1}


def test_a_row_that_commits_late_is_not_passed_over(engine: Engine, outbox: Outbox) -> None:
    """A row with a lower number than one that was sent is sent all the same."""
    with engine.begin() as connection:
        connection.execute(insert(outbox.table), {"id": 7, "event": _line(7)})
    service = FaultyService()
    relay = relay_of(engine, outbox, service)
    relay.run_once()
    with engine.begin() as connection:
        connection.execute(insert(outbox.table), {"id": 3, "event": _line(3)})
    assert relay.run_once() == Relayed(sent=1)
    assert set(service.log) == {"evt_3", "evt_7"}


def _line(number: int) -> str:
    import json

    return json.dumps(event(number))


def test_refused_rows_wait_for_a_person(engine: Engine, outbox: Outbox) -> None:
    """A bad record, one because of which requests are refused, and text that is no JSON: marked, and the rest goes."""
    with engine.begin() as connection:
        outbox.add(connection, [event(1), event(2, type="bad"), event(3, type="forbidden")])
        connection.execute(insert(outbox.table), {"event": "no JSON"})
        outbox.add(connection, event(5))
    service = FaultyService()
    relay = relay_of(engine, outbox, service)
    assert relay.run_once() == Relayed(sent=2, refused=3)
    assert relay.run_once() == Relayed()
    with engine.begin() as connection:
        rows = outbox.refused(connection)
        assert [(row.id, row.code) for row in rows] == [
            (2, "event_type_unknown"),
            (3, "event_type_not_allowed"),
            (4, "event_invalid"),
        ]
        assert rows[0].message == "type: expected another, found bad"
        outbox.retry(connection, 2, event(2))
        with pytest.raises(UsageError, match="refused event"):
            outbox.retry(connection, 1)
    assert relay.run_once() == Relayed(sent=1)
    assert set(service.log) == {"evt_1", "evt_2", "evt_5"}


def test_old_sent_rows_are_purged(engine: Engine, outbox: Outbox) -> None:
    """After `keep`, some at a time; what waits or is refused is never removed."""
    with engine.begin() as connection:
        outbox.add(connection, [event(1), event(2, type="bad")])
    service = FaultyService()
    assert relay_of(engine, outbox, service).run_once() == Relayed(sent=1, refused=1)
    assert relay_of(engine, outbox, service, keep=timedelta(0)).run_once() == Relayed()
    assert relay_of(engine, outbox, service, keep=timedelta(seconds=-1)).run_once() == Relayed(purged=1)
    with engine.connect() as connection:
        assert len(outbox.refused(connection)) == 1


def test_it_runs_until_it_is_stopped(engine: Engine, outbox: Outbox) -> None:
    """What passes, it waits for: first a service that is away, then an empty outbox."""
    import threading

    with engine.begin() as connection:
        outbox.add(connection, event(1))
    stop, waits = threading.Event(), list[float]()
    service = FaultyService(["reset"] * 12)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if waiting(engine, outbox) == 0:
            stop.set()

    relay_of(engine, outbox, service, poll_seconds=9.0).run(stop, wait)
    assert service.log == {"evt_1": 1}
    assert len(waits) > 1
    assert waits[-1] == 9.0


def test_what_does_not_pass_ends_it(engine: Engine, outbox: Outbox) -> None:
    """A wrong key is nothing to wait for; nor is a table that is not there."""
    with engine.begin() as connection:
        outbox.add(connection, event(1))
    service = FaultyService()
    service.status = 401
    with pytest.raises(AccessError):
        relay_of(engine, outbox, service).run()
    assert waiting(engine, outbox) == 1
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE clearwell_outbox"))
    with pytest.raises(OperationalError):
        relay_of(engine, outbox, service).run_once()


def test_others_write_while_a_relay_waits_for_the_service(
    engine: Engine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rows are not locked, the relay has no transaction open while it publishes."""
    with engine.begin() as connection:
        outbox.add(connection, event(1))
    service = FaultyService()
    relay = relay_of(engine, outbox, service)
    publish: Callable[..., Any] = relay._client.publish

    def publishing(events: Any, **named: Any) -> Any:
        with engine.begin() as connection:
            outbox.add(connection, event(2))
        return publish(events, **named)

    monkeypatch.setattr(relay._client, "publish", publishing)
    assert relay.run_once() == Relayed(sent=1)
    assert waiting(engine, outbox) == 1
