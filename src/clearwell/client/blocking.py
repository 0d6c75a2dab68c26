"""`Client`: publishes from threads. A daemon thread sends in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from clearwell.client.events import Publishable
from clearwell.client.exchange import PATH, Came, Lost, Means, Pause, Published, Reply, Transmit
from clearwell.client.sending import ClientOptions, Counts, OnRefused, Sending
from clearwell.errors import ClearwellError, OverloadError, StorageError


class Client:
    """Publishes events to a service. Threads may share one.

    `publish` returns when the events are durable. `send` returns at once, and a thread sends batches; with a `spool`, a
    folder of this process alone, what is not acknowledged is on disk before `send` returns, and is sent when the
    service is back, or by the next client with that folder. However often an event is sent, it is in the log once.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        spool: Path | str | None = None,
        on_refused: OnRefused | None = None,
        options: ClientOptions | None = None,
        transport: httpx.BaseTransport | None = None,
        means: Means | None = None,
    ) -> None:
        """Take the service's URL and a producer's key. `on_refused` is called in the sender's thread.

        Raises UsageError (`client_url_wrong`), StorageError (`spool_in_use`, `spool_unusable`).
        """
        self._sending = Sending((url, key), spool, on_refused, options, means)
        self._http = httpx.Client(base_url=url, transport=transport)
        self._changed = threading.Condition()
        self._is_ending = False
        self._thread: threading.Thread | None = None
        if self._sending.waiting_events:
            self._start()

    def publish(self, events: Publishable | Iterable[Publishable], *, apart: bool = False) -> Published:
        """Publish and wait until it is durable; returns the counts, and the refused events with their reasons.

        An error that passes is met by publishing again, up to `deadline_seconds`. With `apart`, events because of which
        the service refuses a whole request are among the refused ones; without, that raises.

        Raises UsageError (`event_invalid`) before anything is published; the service's own error for a request that it
        refuses; StorageError or OverloadError when the deadline passes. Then publish the same again: it counts once.
        """
        self._sending.require_open()
        steps = self._sending.publishing(events, apart=apart)
        came: Came = None
        try:
            while True:
                step = steps.send(came)
                came = None
                if isinstance(step, Transmit):
                    came = self._transmit(step)
                else:
                    (self._sending.means.sleep or time.sleep)(step.seconds)
        except StopIteration as done:
            published: Published = done.value
            return published

    def send(self, events: Publishable | Iterable[Publishable]) -> None:
        """Have events sent in the background. With a spool, they are on disk when this returns.

        Raises UsageError (`event_invalid`); OverloadError (`queue_full`) when there was no room for
        `deadline_seconds`; StorageError (`spool_not_writable`). Without a spool, also what has halted the sender.
        """
        lines, waiting = self._sending.lines(events), self._sending.waiting
        with self._changed:
            seconds = self._sending.options.deadline_seconds
            if not waiting.has_room(lines):
                self._start()
                self._sending.ask_flush()
                self._changed.notify_all()
                if not self._changed.wait_for(lambda: waiting.has_room(lines), seconds):
                    raise OverloadError("queue_full", f"{self.waiting} events wait already: send this again later")
            self._sending.require_open()
            if not self._sending.is_spooled:
                waiting.add(lines)
        if self._sending.is_spooled:
            waiting.add(lines)  # It syncs: threads that send at once share that, so none has the lock.
        with self._changed:
            self._start()
            self._sending.note_added()
            self._changed.notify_all()

    def flush(self, seconds: float | None = None) -> None:
        """Wait until everything sent before is acknowledged or refused, at most for so many seconds.

        Raises StorageError (`flush_unfinished`) when it is not in time, and what has halted the sender.
        """
        self._sending.waiting.sync()
        with self._changed:
            wanted = self._sending.ask_flush()
            self._start()
            self._changed.notify_all()
            sending = self._sending
            self._changed.wait_for(lambda: sending.done >= wanted or sending.halted or self._is_ending, seconds)
            if sending.done >= wanted:
                return
            if sending.halted and sending.error is not None:
                raise sending.error
        raise self._sending.unfinished()

    def close(self, seconds: float | None = None) -> None:
        """Flush, at most for so many seconds (`deadline_seconds`), and end.

        With a spool, what is not acknowledged then stays there. Raises as `flush` where there is none.
        """
        with self._changed:
            if self._sending.is_closed:
                return
            self._sending.is_closed = True
        error: ClearwellError | None = None
        try:
            if self._sending.waiting_events:
                self.flush(self._sending.options.deadline_seconds if seconds is None else seconds)
        except ClearwellError as found:
            error = found
        finally:
            self._end()
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

    def __enter__(self) -> Self:
        """The client."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close it. An error of closing does not hide one that is under way."""
        try:
            self.close()
        except ClearwellError:
            if error is None:
                raise

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="clearwell-sender", daemon=True)
            self._thread.start()

    def _end(self) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()  # A request that is under way ends within `request_seconds`.
        self._sending.waiting.close()
        self._http.close()

    def _run(self) -> None:
        steps = self._sending.steps()
        came: Came = None
        while not self._is_ending:
            try:
                step = steps.send(came)
            except Exception as error:  # Of ours: nobody would see it in a thread.
                self._sending.halt(StorageError("sender_failed", f"the client made a mistake: {error!r}"))
                steps = self._sending.steps()
                came = None
                continue
            finally:
                with self._changed:
                    self._changed.notify_all()
            came = None
            if isinstance(step, Transmit):
                came = self._transmit(step)
            elif isinstance(step, Pause):
                self._sending.error = step.error
                self._pause(step.seconds)
            else:
                with self._changed:  # What is added meanwhile is due at a time of its own.
                    while not self._is_ending and (seconds := self._sending.due_seconds()) != 0.0:
                        self._changed.wait(seconds)
        steps.close()

    def _pause(self, seconds: float) -> None:
        if self._sending.means.sleep is not None:
            self._sending.means.sleep(seconds)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._is_ending, seconds)

    def _transmit(self, step: Transmit) -> Reply | Lost:
        try:
            response = self._http.post(PATH, content=step.content, headers=dict(step.headers), timeout=step.seconds)
        except httpx.RequestError as error:
            return Lost(f"{type(error).__name__}: {error}")
        return Reply(response.status_code, dict(response.headers), response.content)
