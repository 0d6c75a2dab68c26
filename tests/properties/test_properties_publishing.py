"""Whatever fails, every event that a producer sent is in the log exactly once, or was told to be refused."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearwell.client.aio import AsyncClient
from clearwell.client.blocking import Client
from clearwell.client.exchange import Means
from clearwell.client.sending import ClientOptions
from clearwell.client.spool import Spool
from faulty_service import FAULTS, FaultyService, Moments, event

EXAMPLES = 40 * int(os.environ.get("CLEARWELL_EXAMPLES_TIMES", "1"))

kinds = st.sampled_from(["charge.creation", "charge.creation", "charge.creation", "bad", "forbidden"])
"""Of an event: accepted, refused as a record, or the cause why its request is refused."""

faults = st.lists(st.sampled_from([None, *FAULTS]), max_size=30)


def _means(moments: Moments, *, in_loop: bool = False) -> Means:
    return Means(moments.clock, moments.sleep_in_loop if in_loop else moments.sleep, lambda: 0.5)


def _check(kinds: list[str], service: FaultyService, told: list[str]) -> None:
    """Good events are in the log once, and no other; each of the others was told."""
    good = {f"evt_{number}" for number, kind in enumerate(kinds) if kind == "charge.creation"}
    assert service.log == dict.fromkeys(good, 1)
    assert set(told) == {f"evt_{number}" for number in range(len(kinds))} - good


@given(st.lists(kinds, max_size=12), faults, st.integers(1, 5), st.booleans())
@settings(max_examples=EXAMPLES)
def test_sent_by_threads(kinds: list[str], faults: list[str | None], batch: int, in_memory: bool) -> None:
    """By a `Client`, in memory or with a spool."""
    service, told = FaultyService(faults), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        client = Client(
            "http://service", "cw_key", spool=None if in_memory else folder, transport=service.transport,
            on_refused=lambda item: told.append(item.event["id"]), means=_means(Moments()),
            options=ClientOptions(batch_events=batch, linger_seconds=1e9),
        )  # fmt: skip
        with client:
            for number, kind in enumerate(kinds):
                client.send(event(number, type=kind))
            client.flush()
        _check(kinds, service, told)


@given(st.lists(kinds, max_size=12), faults, st.integers(1, 5))
@settings(max_examples=EXAMPLES)
def test_sent_by_tasks(kinds: list[str], faults: list[str | None], batch: int) -> None:
    """By an `AsyncClient`."""
    service, told = FaultyService(faults), list[str]()

    async def scenario() -> None:
        client = AsyncClient(
            "http://service", "cw_key", transport=service.transport, means=_means(Moments(), in_loop=True),
            on_refused=lambda item: told.append(item.event["id"]),
            options=ClientOptions(batch_events=batch, linger_seconds=1e9),
        )  # fmt: skip
        async with client:
            for number, kind in enumerate(kinds):
                await client.send(event(number, type=kind))

    asyncio.run(scenario())
    _check(kinds, service, told)


@given(st.data(), st.lists(st.lists(kinds, max_size=5), max_size=5), faults)
@settings(max_examples=EXAMPLES)
def test_sent_by_processes_that_crash(data: st.DataObject, lives: list[list[str]], faults: list[str | None]) -> None:
    """Each process adds to the spool, sends some of it, and crashes at any step; the last one sends the rest.

    The file that it was writing may end in half a line, of an event whose `send` never returned.
    """
    service, told, kinds = FaultyService(faults), list[str](), [kind for life in lives for kind in life]
    with tempfile.TemporaryDirectory() as folder:
        number = 0
        for life in lives:
            spool = Spool(Path(folder))
            for kind in life:
                spool.add([_line(event(number, type=kind))])
                number += 1
            _send_some(spool, service, told, data.draw(st.integers(0, 6), label="steps before the crash"))
            _crash(spool, torn=data.draw(st.booleans(), label="torn"))
        with Client(
            "http://service", "cw_key", spool=folder, transport=service.transport, means=_means(Moments()),
            on_refused=lambda item: told.append(item.event["id"]),
        ) as client:  # fmt: skip
            client.flush()
        _check(kinds, service, told)


def _line(record: dict[str, Any]) -> bytes:
    from clearwell.client.events import as_lines

    return as_lines(record)[0]


def _send_some(spool: Spool, service: FaultyService, told: list[str], steps: int) -> None:
    """Drive the sender for so many requests and pauses, and leave it there."""
    import httpx

    from clearwell.client.exchange import Came, Lost, Reply, Transmit
    from clearwell.client.sending import Idle, Sending

    sending = Sending(("http://service", "cw_key"), None, lambda item: told.append(item.event["id"]), None, None)
    sending.waiting = spool
    sending.ask_flush()
    procedure, came = sending.steps(), None
    http = httpx.Client(base_url="http://service", transport=service.transport)
    for _ in range(steps):
        step = procedure.send(came)
        if isinstance(step, Idle):
            return
        came: Came = None
        if isinstance(step, Transmit):
            try:
                response = http.post("/v1/events", content=step.content, headers=dict(step.headers))
                came = Reply(response.status_code, dict(response.headers), response.content)
            except httpx.RequestError as error:
                came = Lost(str(error))


def _crash(spool: Spool, *, torn: bool) -> None:
    for file in spool._files:
        if torn and file is spool._active:
            os.write(file.descriptor, b'0badc0de {"type":"charge.cre')
        os.close(file.descriptor)
    os.close(spool._lock_file)


def test_a_client_that_gives_up_is_caught() -> None:
    """The check can fail: an event that is neither in the log nor told of is found."""
    with pytest.raises(AssertionError):
        _check(["charge.creation", "bad"], FaultyService(), ["evt_1"])
    with pytest.raises(AssertionError):
        _check(["bad"], FaultyService(), [])
