"""Clients against a service that runs: over a socket of the loopback, and within the process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import uvicorn
from sqlalchemy import create_engine

import clearwell
from clearwell.application.access import make_key
from clearwell.client.blocking import Client
from clearwell.client.exchange import Means
from clearwell.client.outbox import Outbox, Relay, Relayed
from clearwell.client.sending import ClientOptions
from clearwell.errors import AccessError, StorageError
from clearwell.service.api.app import create_app
from clearwell.service.running import ServiceOptions, running
from faulty_service import Moments, event


@dataclass
class Served:
    """A service that listens, and keys for it."""

    url: str
    key: str
    limited: str
    app: Any


@contextmanager
def serving(ledger: Any, name: str = "shop") -> Iterator[Served]:
    """The service of a project, at a free port, until the block ends."""
    with ledger.open() as workspace, running(workspace, ServiceOptions()) as service:
        key = make_key(workspace, name, "producer", made_by="test").secret
        types = frozenset({"charge.creation"})
        limited = make_key(workspace, f"{name} limited", "producer", made_by="test", event_types=types).secret
        app = create_app(service)
        with socket.create_server(("127.0.0.1", 0)) as listening:  # Who connects before it accepts waits for it.
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", key, limited, app)
            finally:
                server.should_exit = True
                thread.join()


@pytest.fixture
def served(ledger: Any) -> Iterator[Served]:
    with serving(ledger) as found:
        yield found


class Losing(httpx.BaseTransport):
    """Loses requests and answers of a real service, as it is told to."""

    def __init__(self, faults: Iterable[str]) -> None:
        self._faults, self._inner = iter(faults), httpx.HTTPTransport()
        self.keys: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers["idempotency-key"])
        fault = next(self._faults, "")
        if fault == "reset":
            raise httpx.ConnectError("connection reset", request=request)
        response = self._inner.handle_request(request)
        if not fault:
            return response
        content = response.read()
        if fault == "lost":
            raise httpx.ReadTimeout("timed out", request=request)
        return httpx.Response(response.status_code, content=content[: len(content) // 2])

    def close(self) -> None:
        self._inner.close()


def quick() -> Means:
    moments = Moments()
    return Means(moments.clock, moments.sleep, lambda: 1.0)


def in_log(ledger: Any) -> list[str]:
    """The ids in the log, in its order."""
    files = sorted((ledger.data / "log").glob("*.parquet"))
    rows = pl.concat([pl.read_parquet(path, columns=["sequence", "id"]) for path in files]).sort("sequence")
    return rows["id"].to_list()


def test_events_are_published(served: Served, ledger: Any) -> None:
    """Accepted, told as duplicates when they come again, and refused with the reason of the quarantine."""
    with Client(served.url, served.key) as client:
        found = client.publish([event(1), event(2), event(3, type="unknown")])
        assert (found.accepted, found.duplicates) == (2, 0)
        (refused,) = found.refused
        assert (refused.index, refused.code, refused.field) == (2, "event_type_unknown", "type")
        assert client.publish([event(1), event(2)]).duplicates == 2
        conflict = client.publish(event(1, properties={"charge": "ch_1", "business": "acct_B", "network": "visa"}))
        assert [item.code for item in conflict.refused] == ["event_id_conflict"]
        large = client.publish([event(number) for number in range(10, 3010)])
        assert large.accepted == 3000
    assert len(in_log(ledger)) == 3002


def test_a_lost_answer_is_had_again(served: Served, ledger: Any) -> None:
    """The request is made again under its key, and answered as the first time: accepted, and no duplicate."""
    transport = Losing(["reset", "lost", "cut"])
    with Client(served.url, served.key, transport=transport, means=quick()) as client:
        found = client.publish([event(1), event(2)])
    assert (found.accepted, found.duplicates) == (2, 0)
    assert (len(transport.keys), len(set(transport.keys))) == (4, 1)
    assert in_log(ledger) == ["evt_1", "evt_2"]


def test_a_wrong_key_raises_the_service_s_error(served: Served) -> None:
    """With its code, as it would within the process."""
    with Client(served.url, "cw_wrong") as client, pytest.raises(AccessError) as wrong:
        client.publish(event(1))
    assert wrong.value.code == "credentials_wrong"


def test_one_event_that_may_not_be_published_stops_no_other(served: Served, ledger: Any, tmp_path: Path) -> None:
    """The service refuses the whole request; the client finds the event, and sends the others."""
    told: list[str] = []
    records = [event(number) for number in range(20)]
    records[7]["type"] = "charge.release"
    with Client(served.url, served.limited, spool=tmp_path, on_refused=lambda item: told.append(item.code)) as client:
        client.send(records)
        client.flush()
    assert told == ["event_type_not_allowed"]
    assert len(in_log(ledger)) == 19


def test_a_spool_waits_for_the_service_to_come_back(ledger: Any, tmp_path: Path) -> None:
    """Sent while it is away, by one client, and acknowledged to another: in order, and once."""
    options = ClientOptions(batch_events=4)
    with serving(ledger) as served, Client(served.url, served.key, spool=tmp_path, options=options) as client:
        client.send([event(number) for number in range(3)])
        client.flush()
    with Client(served.url, served.key, spool=tmp_path, options=options, means=quick()) as client:
        client.send([event(number) for number in range(3, 9)])
        with pytest.raises(StorageError):
            client.flush(0.01)
        client.close(0.0)
    with serving(ledger, "again") as served, Client(served.url, served.key, spool=tmp_path) as client:
        client.send(event(9))
        client.flush()
        assert client.waiting == 0
    assert in_log(ledger) == [f"evt_{number}" for number in range(10)]


def test_events_sent_through_losses_are_there_once(served: Served, ledger: Any, tmp_path: Path) -> None:
    """Half of the requests or of their answers are lost; the log has each event once."""
    transport = Losing(["lost", "reset", "cut", "", "reset", "lost", ""] * 20)
    options = ClientOptions(batch_events=7)
    with Client(served.url, served.key, spool=tmp_path, options=options, transport=transport, means=quick()) as client:
        for number in range(100):
            client.send(event(number))
        client.flush()
        assert (client.sent.accepted, client.sent.duplicates) == (100, 0)
    assert in_log(ledger) == [f"evt_{number}" for number in range(100)]


def test_a_loop_publishes_and_sends(served: Served, ledger: Any, tmp_path: Path) -> None:
    """An `AsyncClient`, within the process of the service."""

    async def scenario() -> None:
        transport = httpx.ASGITransport(served.app)
        async with clearwell.AsyncClient("http://service", served.key, spool=tmp_path, transport=transport) as client:
            assert (await client.publish(event(1))).accepted == 1
            await asyncio.gather(*(client.send(event(number)) for number in range(2, 30)))
            await client.flush()
            assert client.sent.accepted == 28

    asyncio.run(scenario())
    assert len(in_log(ledger)) == 29


def test_an_outbox_is_relayed(
    served: Served, ledger: Any, tmp_path: Path, creation: Callable[..., dict[str, Any]]
) -> None:
    """From a producer's database into the log; a record of no type is marked."""
    engine, outbox = create_engine(f"sqlite:///{tmp_path / 'producer.sqlite'}"), Outbox()
    outbox.create(engine)
    with engine.begin() as connection:
        outbox.add(connection, [creation(), creation(id="evt_2", type="unknown")])
    with Client(served.url, served.key) as client:
        assert Relay(engine, client, outbox).run_once() == Relayed(sent=1, refused=1)
    with engine.connect() as connection:
        assert [row.code for row in outbox.refused(connection)] == ["event_type_unknown"]
    assert in_log(ledger) == ["evt_1"]
