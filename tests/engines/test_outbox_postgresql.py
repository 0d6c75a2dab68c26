"""The outbox in PostgreSQL: several relays share the rows, and a transaction that commits late is not passed over."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool

from clearwell.client.blocking import Client
from clearwell.client.outbox import Outbox, Relay, Relayed, RelayOptions
from faulty_service import FaultyService, event


@pytest.fixture
def engine(postgresql: URL) -> Iterator[Engine]:
    """The server, without an outbox before and after."""
    engine = create_engine(postgresql, poolclass=NullPool)
    outbox = Outbox()
    outbox.create(engine)
    yield engine
    outbox.table.drop(engine)


def relay_of(engine: Engine, service: FaultyService, batch: int) -> Relay:
    client = Client("http://service", "cw_key", transport=service.transport)
    return Relay(engine, client, options=RelayOptions(batch_events=batch))


def test_two_relays_have_rows_of_their_own(engine: Engine) -> None:
    """While one publishes its rows, another one passes them over, and takes the next."""
    outbox, service = Outbox(), FaultyService()
    with engine.begin() as connection:
        outbox.add(connection, [event(number) for number in range(4)])
    with engine.connect() as connection:
        assert [row["id"] for row in outbox.next(connection, 2)] == [1, 2]
        assert relay_of(engine, service, 2).run_once() == Relayed(sent=2)
        assert list(service.log) == ["evt_2", "evt_3"]
        assert relay_of(engine, service, 2).run_once() == Relayed()
    assert relay_of(engine, service, 2).run_once() == Relayed(sent=2)
    assert service.log == {f"evt_{number}": 1 for number in range(4)}


def test_a_transaction_that_commits_late_is_not_passed_over(engine: Engine) -> None:
    """The one that took the lower number commits after the other one's row was sent."""
    outbox, service = Outbox(), FaultyService()
    with engine.connect() as slow:
        outbox.add(slow, event(1))
        with engine.begin() as quick:
            outbox.add(quick, event(2))
        assert relay_of(engine, service, 10).run_once() == Relayed(sent=1)
        slow.commit()
    assert relay_of(engine, service, 10).run_once() == Relayed(sent=1)
    assert list(service.log) == ["evt_2", "evt_1"]


def test_relays_and_producers_at_once(engine: Engine) -> None:
    """Three relays and two producers: every event is published, and by one relay only."""
    outbox, service, stop = Outbox(), FaultyService(), Event()

    def produce(first: int) -> None:
        for number in range(first, first + 20):
            with engine.begin() as connection:
                outbox.add(connection, event(number))

    def wait(_seconds: float) -> None:
        with engine.connect() as connection:
            if produced.is_set() and not outbox.waiting(connection):
                stop.set()

    produced = Event()
    relays = [Thread(target=relay_of(engine, service, 3).run, args=(stop, wait)) for _ in range(3)]
    producers = [Thread(target=produce, args=(first,)) for first in (0, 20)]
    for thread in (*relays, *producers):
        thread.start()
    for thread in producers:
        thread.join()
    produced.set()
    for thread in relays:
        thread.join()
    assert service.log == {f"evt_{number}": 1 for number in range(40)}
    assert sum(len(request.read().splitlines()) for request in service.requests) == 40
