"""Sending in the background, by a thread and by a task: batches, flush, halt, close, and a spool between processes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearwell.client.aio import AsyncClient
from clearwell.client.blocking import Client
from clearwell.client.exchange import Means, Pause, RefusedEvent, Reply, Transmit
from clearwell.client.sending import ClientOptions, Idle, Sending
from clearwell.errors import AccessError, OverloadError, StorageError, UsageError
from faulty_service import FaultyService, Moments, event

Scenario = Callable[..., Any]


class InThreads:
    """A `Client`, asked as an `AsyncClient` is."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.client = Client(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        if not callable(found):
            return found

        async def asked(*arguments: Any, **named: Any) -> Any:
            return found(*arguments, **named)

        return asked


@pytest.fixture(params=["thread", "task"])
def made(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a client of either kind, whose pauses take no time."""

    def make(
        service: FaultyService, moments: Moments, on_refused: Any = None, spool: Any = None, **options: Any
    ) -> Any:
        is_thread = request.param == "thread"
        means = Means(moments.clock, moments.sleep if is_thread else moments.sleep_in_loop, lambda: 1.0)
        kind: Any = InThreads if is_thread else AsyncClient
        return kind(
            "http://service", "cw_key", spool=spool, on_refused=on_refused, options=ClientOptions(**options),
            transport=service.transport, means=means,
        )  # fmt: skip

    return make


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


def test_what_was_sent_is_there_after_a_flush(made: Scenario, tmp_path: Path) -> None:
    """In memory and on disk: batches of so many, each event once, and the spool's files are gone."""

    async def scenario(spool: Path | None) -> None:
        service = FaultyService(["away", "lost", None, "cut"])
        client = made(service, Moments(), spool=spool, batch_events=3, linger_seconds=1e9)
        await client.send([event(number) for number in range(7)])
        await client.send(event(7))
        await client.flush()
        assert service.log == {f"evt_{number}": 1 for number in range(8)}
        assert (client.sent.accepted, client.waiting) == (8, 0)
        await client.close()

    run(scenario(None))
    run(scenario(tmp_path / "spool"))
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["acknowledged", "lock"]


def test_a_full_batch_goes_by_itself(made: Scenario) -> None:
    """Nobody need flush: what fills a batch is due."""

    async def scenario() -> None:
        arrived = threading.Event()
        service = FaultyService()
        client = made(service, Moments(), lambda _item: arrived.set(), batch_events=2, linger_seconds=1e9)
        await client.send([event(1), event(2, type="bad")])
        await asyncio.to_thread(arrived.wait, 30)
        assert service.log == {"evt_1": 1}
        await client.close()

    run(scenario())


def test_an_event_goes_when_it_has_lingered(made: Scenario) -> None:
    """Without a flush and a full batch, after `linger_seconds`: here at once."""

    async def scenario() -> None:
        arrived = threading.Event()
        client = made(FaultyService(), Moments(), lambda _item: arrived.set(), linger_seconds=0.0)
        await client.send(event(1, type="bad"))
        assert await asyncio.to_thread(arrived.wait, 30)
        await client.close()

    run(scenario())


class Passing(Moments):
    """Moments that pass by themselves."""

    def clock(self) -> float:
        return time.monotonic()


def test_an_event_goes_after_a_time_in_which_nothing_waited(made: Scenario) -> None:
    """Whoever sends now and then need not flush: each event goes when it has lingered, and waits for no other."""

    async def scenario() -> None:
        arrived = threading.Event()
        client = made(FaultyService(), Passing(), lambda _item: arrived.set(), linger_seconds=0.01)
        for number in range(3):
            await client.send(event(number, type="bad"))
            assert await asyncio.to_thread(arrived.wait, 10), number
            await client.flush()
            arrived.clear()
        await client.close()

    run(scenario())


def test_refused_events_are_told_and_kept(made: Scenario, tmp_path: Path) -> None:
    """A bad record, and one because of which the request is refused: told, and in refused.ndjson; the others arrive."""

    async def scenario() -> None:
        told: list[RefusedEvent] = []
        service = FaultyService()
        client = made(service, Moments(), told.append, tmp_path, linger_seconds=1e9)
        await client.send([event(1), event(2, type="bad"), event(3, type="forbidden"), event(4)])
        await client.flush()
        assert {item.event["id"]: item.code for item in told} == {
            "evt_2": "event_type_unknown",
            "evt_3": "event_type_not_allowed",
        }
        assert service.log == {"evt_1": 1, "evt_4": 1}
        assert client.sent.refused == 2
        await client.close()

    run(scenario())
    text = (tmp_path / "refused.ndjson").read_text(encoding="utf-8")
    assert [line.count('"code"') for line in text.splitlines()] == [1, 1]
    assert '"evt_3"' in text


def test_a_callback_that_fails_stops_nothing(made: Scenario) -> None:
    """An error of `on_refused` is logged, and the next event goes."""

    async def scenario() -> None:
        service = FaultyService()
        client = made(service, Moments(), lambda _item: 1 / 0, linger_seconds=1e9)
        await client.send([event(1, type="bad"), event(2)])
        await client.close()
        assert service.log == {"evt_2": 1}

    run(scenario())


def test_a_wrong_key_halts_and_nothing_is_lost(made: Scenario, tmp_path: Path) -> None:
    """The error of the request is raised by flush; what waits, waits, and goes when the key is right again."""

    async def scenario(spool: Path | None) -> None:
        service = FaultyService()
        service.status = 401
        client = made(service, Moments(), spool=spool, linger_seconds=1e9)
        await client.send(event(1))
        with pytest.raises(AccessError):
            await client.flush()
        assert client.waiting == 1
        assert client.error.code == "credentials_wrong"
        if spool is None:
            with pytest.raises(AccessError):
                await client.send(event(2))
        else:
            await client.send(event(2))
        service.status = 0
        await client.flush()
        assert client.error is None
        await client.close()
        assert service.log == ({"evt_1": 1} if spool is None else {"evt_1": 1, "evt_2": 1})

    run(scenario(None))
    run(scenario(tmp_path))


def test_what_has_halted_goes_on_by_itself() -> None:
    """After the longest pause the sender tries again, without a flush: the key may be right by then."""
    service, moments = FaultyService(), Moments()
    service.status = 401
    sending = Sending(("http://service", "cw_key"), None, None, None, Means(moments.clock))
    sending.waiting.add(sending.lines(event(1)))
    sending.ask_flush()
    procedure = sending.steps()
    assert isinstance(next(procedure), Transmit)
    halted = procedure.send(Reply(401, {}, b""))
    assert halted == Idle(30.0)
    assert procedure.send(None) == Idle(30.0)
    moments.now = 31.0
    assert isinstance(procedure.send(None), Transmit)
    answer = {"accepted": 1, "duplicates": 0, "refused_count": 0, "refused": []}
    assert procedure.send(Reply(200, {}, json.dumps(answer).encode())) == Idle(None)
    assert (sending.halted, sending.error, sending.waiting_events) == (False, None, 0)


def test_a_spool_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer came and the disk is full: the same request goes again after a pause, and is answered the same."""
    moments = Moments()
    sending = Sending(("http://service", "cw_key"), tmp_path, None, None, Means(moments.clock, share=lambda: 1.0))
    sending.waiting.add(sending.lines(event(1)))
    sending.ask_flush()
    procedure = sending.steps()
    first = next(procedure)
    answer = json.dumps({"accepted": 1, "duplicates": 0, "refused_count": 0, "refused": []}).encode()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", lambda _path, _content: (_ for _ in ()).throw(OSError(28, "full")))
        paused = procedure.send(Reply(200, {}, answer))
    assert isinstance(paused, Pause)
    assert paused.error.code == "spool_not_writable"
    assert procedure.send(None) == first
    assert procedure.send(Reply(200, {}, answer)) == Idle(None)
    assert (sending.waiting_events, sending.waiting.waiting_bytes) == (0, 0)
    sending.waiting.close()


def test_a_queue_is_bounded(made: Scenario) -> None:
    """What does not fit waits for room until the deadline, and raises; nothing that was taken is dropped."""

    async def scenario() -> None:
        service = FaultyService()
        service.status = 401
        client = made(service, Moments(), queue_events=2, deadline_seconds=0.01, linger_seconds=1e9)
        await client.send([event(1), event(2)])
        with pytest.raises(OverloadError) as full:
            await client.send(event(3))
        assert full.value.code == "queue_full"
        with pytest.raises(AccessError):
            await client.close(30)

    run(scenario())


def test_a_later_client_sends_what_is_in_the_spool(made: Scenario, tmp_path: Path) -> None:
    """The service is away until the first client closes; the next one sends it in order, and once."""

    async def scenario() -> None:
        away = FaultyService()
        away.status = 401
        first = made(away, Moments(), spool=tmp_path, linger_seconds=1e9)
        await first.send([event(number) for number in range(5)])
        await first.close()
        service = FaultyService()
        second = made(service, Moments(), spool=tmp_path, batch_events=2)
        await second.flush()
        assert len(service.requests) == 3
        assert list(service.log) == [f"evt_{number}" for number in range(5)]
        await second.close()
        third = made(FaultyService(), Moments(), spool=tmp_path)
        assert third.waiting == 0
        await third.close()

    run(scenario())


def test_a_spool_is_one_client_s(made: Scenario, tmp_path: Path) -> None:
    """A second one is refused at once."""

    async def scenario() -> None:
        client = made(FaultyService(), Moments(), spool=tmp_path)
        with pytest.raises(StorageError) as taken:
            made(FaultyService(), Moments(), spool=tmp_path)
        assert taken.value.code == "spool_in_use"
        await client.close()

    run(scenario())


def test_a_flush_ends_in_time(made: Scenario, tmp_path: Path) -> None:
    """When the service stays away, flush says how many are not acknowledged; with a spool, close says nothing."""

    async def scenario() -> None:
        client = made(FaultyService(["reset"] * 10**6), Moments(), spool=tmp_path, linger_seconds=1e9)
        await client.send(event(1))
        with pytest.raises(StorageError) as late:
            await client.flush(0.01)
        assert late.value.code == "flush_unfinished"
        await client.close(0.01)
        service = FaultyService()
        again = made(service, Moments(), spool=tmp_path)
        await again.close()
        assert service.log == {"evt_1": 1}

    run(scenario())


def test_a_closed_client_takes_nothing(made: Scenario) -> None:
    """Neither publish nor send; closing again does nothing."""

    async def scenario() -> None:
        client = made(FaultyService(), Moments())
        await client.close()
        await client.close()
        for act in (client.publish, client.send):
            with pytest.raises(UsageError) as closed:
                await act(event(1))
            assert closed.value.code == "client_closed"

    run(scenario())


@pytest.mark.parametrize("turns", range(6))
def test_a_sender_ends_in_whichever_turn_of_the_loop(turns: int) -> None:
    """Closing ends a sender that was woken just before, also one that had a time to wake up by."""

    async def scenario() -> None:
        client = AsyncClient("http://service", "cw_key", options=ClientOptions(linger_seconds=1e9))
        await client.send(event(1))
        while client._added.is_set():  # Until it waits.
            await asyncio.sleep(0)
        client._added.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        client._sending.waiting.settled = 1  # Nothing is to be flushed: it is closed in this turn.
        closing = asyncio.create_task(client.close())
        closed, _ = await asyncio.wait([closing], timeout=10)
        closing.cancel()
        assert closed

    run(scenario())


def test_both_publish(made: Scenario) -> None:
    """`publish` of either kind makes requests again, and tells what was refused."""

    async def scenario() -> None:
        service = FaultyService(["lost", "busy"])
        client = made(service, Moments())
        found = await client.publish([event(1), event(2, type="bad")])
        assert (found.accepted, len(found.refused)) == (1, 1)
        await client.close()

    run(scenario())


def test_the_blocks_close(tmp_path: Path) -> None:
    """`with` and `async with` flush at their end, and an error inside comes first."""
    service = FaultyService()
    with Client("http://service", "cw_key", transport=service.transport) as client:
        client.send(event(1))
    assert service.log == {"evt_1": 1}

    async def scenario() -> None:
        async with AsyncClient("http://service", "cw_key", spool=tmp_path, transport=service.transport) as other:
            await other.send(event(2))

    run(scenario())
    assert service.log == {"evt_1": 1, "evt_2": 1}
    service.status = 401
    with (
        pytest.raises(ZeroDivisionError),
        Client("http://service", "cw_key", transport=service.transport) as client,
    ):
        client.send([event(3)][1 // 0])


def test_threads_share_a_client(tmp_path: Path) -> None:
    """Many threads send at once; every event is there once."""
    service = FaultyService()
    with Client("http://service", "cw_key", spool=tmp_path, transport=service.transport) as client:
        threads = [
            threading.Thread(target=lambda start=start: [client.send(event(start + n)) for n in range(20)])
            for start in range(0, 100, 20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.flush()
        assert service.log == {f"evt_{number}": 1 for number in range(100)}
