"""`AsyncClient`: publishes from an event loop. A task sends in the background; what is asked of a disk, threads do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from clearwell.client.events import Publishable
from clearwell.client.exchange import PATH, Came, Lost, Means, Pause, Published, Reply, Transmit
from clearwell.client.sending import ClientOptions, Counts, Idle, OnRefused, Sending
from clearwell.errors import ClearwellError, OverloadError, StorageError

_Step = TypeVar("_Step")


class AsyncClient:
    """Publishes events to a service, within one event loop; what `Client` says holds here.

    `means.sleep` may be a coroutine function. `on_refused` is called by the task that sends.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        spool: Path | str | None = None,
        on_refused: OnRefused | None = None,
        options: ClientOptions | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        means: Means | None = None,
    ) -> None:
        """Take the service's URL and a producer's key. A spool is read here: in a loop, make it before it is busy.

        Raises UsageError (`client_url_wrong`), StorageError (`spool_in_use`, `spool_unusable`).
        """
        self._sending = Sending((url, key), spool, on_refused, options, means)
        self._http = httpx.AsyncClient(base_url=url, transport=transport)
        self._added = asyncio.Event()
        self._settled = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def publish(self, events: Publishable | Iterable[Publishable], *, apart: bool = False) -> Published:
        """As `Client.publish`."""
        self._sending.require_open()
        steps = self._sending.publishing(events, apart=apart)
        came: Came = None
        try:
            while True:
                step = steps.send(came)
                came = None
                if isinstance(step, Transmit):
                    came = await self._transmit(step)
                else:
                    await self._sleep(step.seconds)
        except StopIteration as done:
            published: Published = done.value
            return published

    async def send(self, events: Publishable | Iterable[Publishable]) -> None:
        """As `Client.send`."""
        lines, waiting = self._sending.lines(events), self._sending.waiting
        self._start()
        if not waiting.has_room(lines):
            self._sending.ask_flush()
            self._added.set()
            if not await self._wait_for(lambda: waiting.has_room(lines), self._sending.options.deadline_seconds):
                raise OverloadError("queue_full", f"{self.waiting} events wait already: send this again later")
        if self._sending.is_spooled:
            await asyncio.to_thread(waiting.add, lines)
        else:
            waiting.add(lines)
        self._sending.note_added()
        self._added.set()

    async def flush(self, seconds: float | None = None) -> None:
        """As `Client.flush`."""
        sending = self._sending
        if sending.is_spooled:
            await asyncio.to_thread(sending.waiting.sync)
        wanted = sending.ask_flush()
        self._start()
        self._added.set()
        await self._wait_for(lambda: sending.done >= wanted or sending.halted, seconds)
        if sending.done >= wanted:
            return
        if sending.halted and sending.error is not None:
            raise sending.error
        raise sending.unfinished()

    async def close(self, seconds: float | None = None) -> None:
        """As `Client.close`; a request that is under way then is given up, and made again by whoever has the spool."""
        if self._sending.is_closed:
            return
        self._sending.is_closed = True
        error: ClearwellError | None = None
        try:
            if self._sending.waiting_events:
                await self.flush(self._sending.options.deadline_seconds if seconds is None else seconds)
        except ClearwellError as found:
            error = found
        finally:
            if self._task is not None:
                self._task.cancel()
                with suppress(asyncio.CancelledError):
                    await self._task
            self._sending.waiting.close()
            await self._http.aclose()
        if error is not None and not self._sending.is_spooled:
            raise error

    @property
    def waiting(self) -> int:
        """How many events are neither acknowledged nor refused."""
        return self._sending.waiting_events

    @property
    def sent(self) -> Counts:
        """What became of what was sent in the background so far."""
        return self._sending.counts

    @property
    def error(self) -> ClearwellError | None:
        """Why nothing can be sent at present; None when it can."""
        return self._sending.error

    async def __aenter__(self) -> Self:
        """The client; what an earlier process left in the spool begins to go."""
        if self._sending.waiting_events:
            self._start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close it. An error of closing does not hide one that is under way."""
        try:
            await self.close()
        except ClearwellError:
            if error is None:
                raise

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="clearwell-sender")

    async def _run(self) -> None:
        steps = self._sending.steps()
        came: Came = None
        while True:
            self._added.clear()
            try:
                step = await self._next(steps, came)
            except Exception as error:  # Of ours: nobody would see it in a task.
                self._sending.halt(StorageError("sender_failed", f"the client made a mistake: {error!r}"))
                steps = self._sending.steps()
                step = Idle(None)
            async with self._settled:
                self._settled.notify_all()
            came = None
            if isinstance(step, Transmit):
                came = await self._transmit(step)
            elif isinstance(step, Pause):
                self._sending.error = step.error
                await self._sleep(step.seconds)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(step.seconds):  # `wait_for` of Python 3.11 may lose the end that comes.
                        await self._added.wait()

    async def _next(self, steps: Generator[_Step, Came, Any], came: Came) -> _Step:
        """The next step. With a spool it reads and writes files, so a thread makes it, and is waited for."""
        if not self._sending.is_spooled:
            return steps.send(came)
        step = asyncio.ensure_future(asyncio.to_thread(steps.send, came))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.wait([step])  # Or the spool would be closed under it.
            raise

    async def _wait_for(self, is_so: Callable[[], bool], seconds: float | None) -> bool:
        async with self._settled:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._settled.wait_for(is_so)
        return is_so()

    async def _sleep(self, seconds: float) -> None:
        await (self._sending.means.sleep or asyncio.sleep)(seconds)

    async def _transmit(self, step: Transmit) -> Reply | Lost:
        try:
            response = await self._http.post(
                PATH, content=step.content, headers=dict(step.headers), timeout=step.seconds
            )
        except httpx.RequestError as error:
            return Lost(f"{type(error).__name__}: {error}")
        return Reply(response.status_code, dict(response.headers), response.content)
