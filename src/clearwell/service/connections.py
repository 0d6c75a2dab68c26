"""Connections that cannot be kept waiting for ever: the head of a request has to come soon, and to be small."""

from __future__ import annotations

from asyncio import BaseTransport, TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""So long a client may take to send the line and the headers of a request, or the rest of one that was answered."""

MOST_HEAD_BYTES = 64 << 10


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which alone would wait for ever for the end of the headers, and take in any number of them."""

    _timer: TimerHandle | None = None
    _is_in_head = True
    _is_whole = True
    _head_bytes = 0

    def connection_made(self, transport: BaseTransport) -> None:
        """Wait for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, unless it are too many before the end of the headers."""
        super().data_received(data)
        if self._is_in_head and not self._is_whole:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers of the request are too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_in_head, self._is_whole, self._head_bytes = True, False, 0
        if self._timer is None:
            self._start()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse a header that makes them too large: an exception here answers 400."""
        if sum(len(item) for pair in self.headers for item in pair) + len(name) + len(value) > MOST_HEAD_BYTES:
            raise ValueError("headers too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request is the app's from here on."""
        self._is_in_head = False
        self._cancel()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of the request is here."""
        self._is_whole = True
        if self.cycle is not None and self.cycle.response_complete:
            self._cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """What was answered before it was whole must become whole soon."""
        super().on_response_complete()
        if not self._is_whole and self._timer is None:
            self._start()

    def _start(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._close)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self, *_arguments: Any) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
