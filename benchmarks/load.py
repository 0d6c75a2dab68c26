"""Puts load on a service over HTTP: clients in one process, each with a connection it keeps; requests are made before.

A general client would take more of the processors than the service does; what is sent and read here is the least.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Loaded:
    """What the load came to: seconds in all, and until each acknowledgement; the statuses with their counts."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def quantile_ms(self, share: float) -> float:
        """The latency, in milliseconds, that so large a share of the requests stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


@dataclass(frozen=True)
class Target:
    """A service and the key to it."""

    url: str
    key: str

    def request(self, body: bytes, content_type: str = "application/x-ndjson") -> bytes:
        """The bytes of a request that publishes `body`."""
        head = (
            f"POST /v1/events HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def put_load(target: Target, requests: Sequence[bytes], clients: int, per_second: float | None = None) -> Loaded:
    """Send each request once, by so many clients, each as soon as its last was answered.

    With `per_second`, requests are due at that pace, and a latency counts from when its request was due.
    """
    return asyncio.run(_put_load(target, requests, clients, per_second))


async def _put_load(target: Target, requests: Sequence[bytes], clients: int, per_second: float | None) -> Loaded:
    loaded, waiting = Loaded(), iter(enumerate(requests))
    started = time.perf_counter()
    due = (started, 1 / per_second) if per_second else None
    await asyncio.gather(*(_client(target, waiting, loaded, due) for _ in range(clients)))
    loaded.seconds = time.perf_counter() - started
    return loaded


async def _client(
    target: Target, waiting: Iterator[tuple[int, bytes]], loaded: Loaded, due: tuple[float, float] | None
) -> None:
    place = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    for number, request in waiting:
        begin = time.perf_counter()
        if due is not None:
            begin = due[0] + number * due[1]
            await asyncio.sleep(max(0.0, begin - time.perf_counter()))
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_length(head))
        loaded.latencies.append(time.perf_counter() - begin)
        status = int(head[9:12])
        loaded.statuses[status] = loaded.statuses.get(status, 0) + 1
    writer.close()
    await writer.wait_closed()


def _length(head: bytes) -> int:
    lower = head.lower()
    start = lower.index(b"content-length:") + len(b"content-length:")
    return int(lower[start : lower.index(b"\r\n", start)])
