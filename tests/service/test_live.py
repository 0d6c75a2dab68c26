"""Figures come to those who listen: a snapshot, then what changes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from served import Running

from clearwell.service import feeds
from clearwell.service.feeds import Listener, Message

MakeEvent = Callable[..., dict[str, Any]]


@contextmanager
def _listening(address: str, path: str, key: str, **headers: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
    """The messages of a stream, each as its name, its id and its content."""
    own = {"Authorization": f"Bearer {key}", **headers}
    with httpx.Client(timeout=20) as client, client.stream("GET", address + path, headers=own) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _messages(answer.iter_lines())


def _messages(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields["id"], json.loads(fields["data"])
            fields = {}


def test_a_snapshot_and_then_what_changes(open_service: Running, creation: MakeEvent, release: MakeEvent) -> None:
    """Only the rows that changed come, within a second of the acknowledgement; a reconnect goes on from there."""
    open_service.publish(creation())
    with open_service.listening() as address, _listening(address, "/v1/live", open_service.key) as messages:
        name, _, content = next(messages)
        assert name == "snapshot"
        (open_row,) = [row for row in content["account_types"] if row["account_type"] == "charge_undisbursed"]
        assert (open_row["open_count"], open_row["open_money"]) == (1, 1000)
        last = open_service.publish(release())
        acknowledged = time.monotonic()
        name, number, content = next(item for item in messages if item[2]["cut"]["sequence"] >= last)
        assert time.monotonic() - acknowledged < 5  # A second, on a machine that has nothing else to do.
        assert (name, number.split(".")[0]) == ("changed", str(last))
        changed = {row["account_type"]: row for row in content["account_types"]}
        assert changed["charge_undisbursed"]["open_count"] == 0
        assert changed["business_balance"]["open_money"] == 970
        assert "card_network_receivable" not in changed
        with _listening(address, "/v1/live", open_service.key, **{"Last-Event-ID": number}) as again:
            open_service.publish(
                creation(id="evt_3", properties={"charge": "ch_2", "business": "acct_B", "network": "visa"})
            )
            assert next(again)[0] == "changed"
        with _listening(address, "/v1/live", open_service.key, **{"Last-Event-ID": "nonsense"}) as anew:
            assert next(anew)[0] == "snapshot"


def test_scores_can_be_listened_to(open_service: Running, creation: MakeEvent) -> None:
    """The nodes of the tree of scores come the same way."""
    open_service.publish(creation())
    with (
        open_service.listening() as address,
        _listening(address, "/v1/live?figures=scores&period=all", open_service.key) as messages,
    ):
        assert next(messages)[2]["nodes"][0]["node"] == "company"


def test_a_tenant_hears_of_its_own_only(open_service: Running, creation: MakeEvent) -> None:
    """What others do changes nothing in a tenant's stream; what it does itself comes."""
    open_service.publish(creation())
    key = open_service.key_of("tenant", business="acct_A")
    with open_service.listening() as address, _listening(address, "/v1/own/live", key) as messages:
        assert next(messages)[2]["balances"] == [{"currency": "USD", "available": 0, "pending": 1000}]
        other = {"charge": "ch_2", "business": "acct_B", "network": "visa"}
        own = {"charge": "ch_3", "business": "acct_A", "network": "visa"}
        open_service.publish(creation(id="evt_2", properties=other))
        open_service.publish(creation(id="evt_3", properties=own))
        name, _, content = next(messages)
        assert (name, content["balances"]) == ("changed", [{"currency": "USD", "available": 0, "pending": 2000}])
        assert httpx.get(f"{address}/v1/live", headers={"Authorization": f"Bearer {key}"}).status_code == 403


def test_many_share_one_computation(open_service: Running, creation: MakeEvent) -> None:
    """Three who listen to the same make one feed, which is gone when they are; at the end all are let go."""
    open_service.publish(creation())
    feed = open_service.app.state.feeds
    with open_service.listening() as address:
        with (
            _listening(address, "/v1/live", open_service.key) as first,
            _listening(address, "/v1/live", open_service.key) as second,
            _listening(address, "/v1/live", open_service.key) as third,
        ):
            assert {next(item)[0] for item in (first, second, third)} == {"snapshot"}
            assert (feed.listener_count, len(feed._feeds)) == (3, 1)
            feed.end()
            assert next(first, None) is None
            assert next(second, None) is None
        refused = httpx.get(f"{address}/v1/live", headers={"Authorization": f"Bearer {open_service.key}"})
        assert refused.status_code == 503


def test_nobody_takes_the_room_of_others(
    open_service: Running, creation: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens as often as one may is told to wait, by any stream; others listen on, and more of them."""
    monkeypatch.setattr(feeds, "MOST_OF_ONE", 2)
    open_service.publish(creation())
    key, another = open_service.key_of("reader"), open_service.key_of("reader")
    with (
        open_service.listening() as address,
        _listening(address, "/v1/live", key) as first,
        _listening(address, "/v1/live?figures=scores", key) as second,
    ):
        assert [next(first)[0], next(second)[0]] == ["snapshot", "snapshot"]
        refused = httpx.get(f"{address}/v1/live", headers={"Authorization": f"Bearer {key}"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_listeners")
        assert int(refused.headers["Retry-After"]) >= 1
        with _listening(address, "/v1/live", another) as third:
            assert next(third)[0] == "snapshot"
            open_service.publish(creation(id="evt_2"))
            assert next(first)[0] == "changed"


def test_who_is_too_slow_is_let_go() -> None:
    """What waits for a listener is bounded: beyond that it gets nothing more but the end."""

    async def play() -> None:
        listener = Listener()
        messages = [Message("changed", str(number), {}) for number in range(feeds.MOST_WAITING + 1)]
        listener.tell(messages)
        await asyncio.sleep(0)
        assert listener.is_over
        assert await listener.next(1) is None

    asyncio.run(play())
