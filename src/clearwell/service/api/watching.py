"""Around every request: its id, its span, the line in the log, the figures, the limits on its body, safe headers."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from contextlib import suppress
from itertools import count
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearwell.application.publishing import stopped_error
from clearwell.errors import ClearwellError, OverloadError, UsageError
from clearwell.service.api.problems import answer, status_of
from clearwell.service.logs import log, logger
from clearwell.service.running import Service

REQUEST_ID = "x-request-id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROCESS, _NUMBERS = secrets.token_hex(4), count(1)
"""Ids of requests, from a number: to ask the system for a random one gives up the interpreter each time."""
_EVENTS = "/v1/events"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_UNKNOWN_PATH = "(unknown)"
_EVENT_STREAM = "text/event-stream"

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""For all but pages: an answer is data, in which nothing may run."""

_tracer = trace.get_tracer("clearwell")


class Watch:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Watched(self._service, scope, receive, send)
        headers = Headers(scope=scope)
        parent = propagate.extract(dict(headers)) if "traceparent" in headers else None
        token = context.attach(parent) if parent is not None else None
        try:
            with _tracer.start_as_current_span("clearwell.request", kind=SpanKind.SERVER) as span:
                await request.answer(self._app)
                if span.is_recording():
                    span.update_name(f"{scope['method']} {request.path}")
                    span.set_attribute("http.request.method", scope["method"])
                    span.set_attribute("http.route", request.path)
                    span.set_attribute("http.response.status_code", request.status)
                    if request.status >= 500:
                        span.set_status(Status(StatusCode.ERROR))
        finally:
            if token is not None:
                context.detach(token)


class _Watched:
    """One request while it is answered."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self._service = service
        self._scope, self._receive, self._send = scope, receive, send
        given = Headers(scope=scope).get(REQUEST_ID, "")
        self.id = given if _REQUEST_ID_FORM.fullmatch(given) else f"{_PROCESS}{next(_NUMBERS):08x}"
        scope.setdefault("state", {})["request_id"] = self.id
        self._began = time.monotonic()
        self.status = 0
        self._received = self._sent = 0
        self._is_whole = self._is_stream = self._is_over = False
        self._refusal: ClearwellError | None = None

    @property
    def path(self) -> str:
        """The template of the path that was found for it."""
        return getattr(self._scope.get("route"), "path", None) or _UNKNOWN_PATH

    async def answer(self, app: ASGIApp) -> None:
        """Have the app answer it; what the app fails at is answered, and told of in the log."""
        self._service.metrics.held(1, 0)
        try:
            if self._service.stopping.has_begun:
                await self._refuse(stopped_error())
            else:
                await app(self._scope, self.receive, self.send)
            if self._is_stream and not self._is_over:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception:  # It was answered by the app, if it still could be.
            logger.exception("The service made a mistake", extra={"fields": self._fields()})
            if not self.status:
                await answer(500, "service_failed", "the service made a mistake; its log says which")(
                    self._scope, self.receive, self.send
                )
        finally:
            self._tell()

    async def _refuse(self, error: ClearwellError) -> None:
        self._refusal = error
        await answer(status_of(error), error.code, error.message)(self._scope, self.receive, self.send)

    async def receive(self) -> Message:
        """The next of the request. Raises UsageError for a body that takes too long, and as the service stops."""
        if self._is_whole:
            return await self._ended()
        options, stopping = self._service.options, self._service.stopping
        left = self._began + options.body_seconds - time.monotonic()
        try:
            async with asyncio.timeout(max(left, 0.0)) as waiting:
                soon = asyncio.get_running_loop().time
                with stopping.telling(lambda: waiting.reschedule(soon())):
                    message = await self._receive()
        except TimeoutError:
            if stopping.has_begun:
                raise self._refused(stopped_error()) from None
            expected = f"expected the whole body within {options.body_seconds:g} seconds"
            raise self._refused(UsageError("body_too_slow", expected)) from None
        size = len(message.get("body", b""))
        self._received += size
        self._hold(size)
        self._is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        if self._service.held.bytes > options.held_bytes:
            raise self._refused(OverloadError("too_much_held", "too many requests are under way: send it again soon"))
        return message

    def _hold(self, size: int) -> None:
        self._service.held.bytes += size
        self._service.metrics.held(0, size)

    def _refused(self, error: ClearwellError) -> ClearwellError:
        self._refusal = error
        return error

    async def _ended(self) -> Message:
        """That the client has gone; for a live stream, that the service stops."""
        loop = asyncio.get_running_loop()
        stopped: asyncio.Future[Message] = loop.create_future()

        def stop() -> None:
            if not stopped.done():
                stopped.set_result({"type": "http.disconnect"})

        gone = asyncio.ensure_future(self._receive())
        with self._service.stopping.telling(stop):
            try:
                await asyncio.wait({gone, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() or not self._is_stream:
                    return await gone
            finally:
                if not gone.done():
                    gone.cancel()
                    with suppress(asyncio.CancelledError):
                        await gone
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._add_headers(message)
        elif message["type"] == "http.response.body":
            self._sent += len(message.get("body", b""))
            self._is_over = not message.get("more_body", False)
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        kind = headers.get("content-type", "")
        self._is_stream = kind.startswith(_EVENT_STREAM)
        headers[REQUEST_ID] = self.id
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if not kind.startswith("text/html"):
            headers.setdefault("Content-Security-Policy", _POLICY)
        if self._scope.get("scheme") == "https":
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if self._refusal is not None:  # The rest of the body is not waited for.
            headers["Connection"] = "close"

    def _fields(self) -> dict[str, Any]:
        principal = self._scope.get("state", {}).get("principal")
        return {
            "method": self._scope["method"],
            "path": self.path,
            "status": self.status,
            "seconds": round(time.monotonic() - self._began, 4),
            "principal": getattr(principal, "name", None),
            "request_id": self.id,
        }

    def _tell(self) -> None:
        service, fields = self._service, self._fields()
        service.metrics.held(-1, 0)
        self._hold(-self._received)
        sizes = (self._received, self._sent)
        service.metrics.answered(fields["method"], fields["path"], self.status, fields["seconds"], sizes)
        # Of what is published there are figures: a line for each request would cost as much as a commit.
        is_quiet = (fields["method"] in _READS or fields["path"] == _EVENTS) and 200 <= self.status < 400
        log(logging.DEBUG if is_quiet else logging.INFO, "request", **fields)
