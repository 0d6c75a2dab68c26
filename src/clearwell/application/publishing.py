"""Takes in what producers publish to a service: requests that wait together become one batch, and share one commit.

Two threads work in turn: one reads and checks a batch while the other makes the one before it durable. What waits is
bounded, in requests and in bytes; beyond that a request is refused at once, and nothing of it is kept.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Queue
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from clearwell.application import observing, spans
from clearwell.application.catching_up import Follower, following
from clearwell.application.ingesting import open_door
from clearwell.application.observing import Observer
from clearwell.application.publications import Grouped, Outcome, Publication, Reading, outcomes
from clearwell.application.workspace import Workspace
from clearwell.application.writing import writing
from clearwell.catalog import requests
from clearwell.errors import ClearwellError, OverloadError, StorageError, UsageError
from clearwell.ingest.door import Checked, Door, Taken
from clearwell.values.times import stored_text

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

_RETRY_SECONDS = 1.0
_FAILED_SECONDS = 1.0
"""How soon the reader sees that the log cannot be written, while nothing comes."""
_WORTH_READING_AHEAD = 2_000
"""While so large a batch becomes durable, the next is read. Beside a smaller one it would only slow it down, and be
small, too: what comes meanwhile does better to wait for the next."""


@dataclass(frozen=True)
class Limits:
    """What may wait at once, of all requests together, and what is read as one batch."""

    waiting_requests: int = 10_000
    waiting_bytes: int = 128 << 20
    batch_bytes: int = 16 << 20


@dataclass(frozen=True)
class _Waiting:
    publication: Publication
    outcome: Future[Outcome] = field(default_factory=Future)
    span: SpanContext | None = field(default_factory=spans.here)

    @property
    def is_alone(self) -> bool:
        """Whether it has to be a batch of its own."""
        return self.publication.whole

    def may_join(self, group: Sequence[_Waiting]) -> bool:
        """Whether it can be in one batch with these."""
        return not self.is_alone and self.publication.form == group[0].publication.form


@dataclass(frozen=True)
class _Ready:
    """Publications as one batch that was held against the rules."""

    waiting: Sequence[_Waiting]
    batch: Grouped
    checked: Checked

    def outcomes(self, taken: Taken) -> list[Outcome]:
        """What became of each publication."""
        return outcomes(self.batch, [item.publication for item in self.waiting], taken)

    def told(self, taken: Taken) -> observing.Taken:
        """What an observer is told when the batch was taken in."""
        size = sum(len(item.publication.body) for item in self.waiting)
        receipt = taken.receipt
        return observing.Taken(len(self.waiting), size, receipt.accepted, receipt.duplicates, taken.rejections.height)


class Publisher:
    """The one writer of a log, for as long as a service runs. Threads may publish at the same time."""

    def __init__(self, workspace: Workspace, limits: Limits | None = None, observer: Observer | None = None) -> None:
        """Nothing is opened before `start`. The observer is told in the publisher's threads."""
        self._workspace = workspace
        self._observer = observer or Observer()
        self._door: Door | None = None
        self._taking = threading.Lock()
        self._limits = limits or Limits()
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._keys: set[str] = set()
        self._begun = threading.Event()
        self._pauses = 0
        self._is_open = False
        self._is_working = False
        self._ended = False
        self._error: ClearwellError | None = None
        self._thread = threading.Thread(target=self._run, name="clearwell-publisher", daemon=True)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many requests wait, and their bytes."""
        with self._changed:
            return len(self._waiting), self._waiting_bytes

    @property
    def error(self) -> ClearwellError | None:
        """Why nothing can be published at present; None when it can."""
        return self._error

    def start(self) -> None:
        """Take the writer's lease and open the log. Raises what keeps it from that."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_open or self._error is not None)
            if self._error is not None:
                self._ended = True
                raise self._error

    def stop(self) -> None:
        """Take in what waits, refuse what comes, and give the lease back."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def publish(self, publication: Publication) -> Future[Outcome]:
        """Have a publication taken in. The future is done when it is durable; it raises as `Door.take` does.

        Raises OverloadError when too much waits, StorageError while the log cannot be written, UsageError for a request
        whose key is that of one under way.
        """
        waiting = _Waiting(publication)
        size = len(publication.body)
        with self._changed:
            if self._ended:
                raise stopped_error()
            if self._error is not None:
                raise type(self._error)(self._error.code, self._error.message, self._error.details)
            full = self._waiting_bytes + size > self._limits.waiting_bytes and self._waiting
            if full or len(self._waiting) >= self._limits.waiting_requests:
                message = f"{len(self._waiting)} requests wait already: send this one again in a moment"
                raise OverloadError("too_many_waiting", message)
            if publication.request_key:
                if publication.key_hash in self._keys:
                    raise UsageError("request_under_way", "a request with this key is under way: wait for its answer")
                self._keys.add(publication.key_hash)
            waiting.outcome.set_running_or_notify_cancel()  # Whoever asked may go: it is taken in all the same.
            self._waiting.append(waiting)
            self._waiting_bytes += size
            self._changed.notify_all()
        return waiting.outcome

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have the log to oneself, with the lease: what waits, waits. The log and the model are read anew after it."""
        with self._changed:
            self._pauses += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._is_working)
        try:
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    def refresh(self) -> None:
        """Read the log anew from the files that it has now, as after a compaction; nothing that waits is held up."""
        with self._taking:
            if self._door is not None:
                self._door.reread(self._workspace.log())

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        with spans.span(step), self._observer.timed(step):
            yield

    def _run(self) -> None:
        while not self._ended:
            try:
                with writing(self._workspace) as lease, following(self._workspace) as follower:
                    while self._may_work():
                        model, door = open_door(self._workspace, lease, timed=self._timed)
                        reading = Reading(self._workspace, model, door)
                        with self._changed:
                            self._is_open, self._error = True, None
                            self._changed.notify_all()
                        self._work(reading, follower)
            except ClearwellError as error:
                self._fail(error)
            except BaseException as error:
                self._fail(StorageError("publisher_failed", f"the service made a mistake: {error!r}"))
                self._workspace.say(f"Publishing failed, and begins anew: {error!r}")

    def _may_work(self) -> bool:
        """Wait while others have the log; whether there may be work to do."""
        with self._changed:
            self._is_working = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._pauses or (self._ended and not self._waiting))
            self._is_working = not self._ended or bool(self._waiting)
            return self._is_working

    def _fail(self, error: ClearwellError) -> None:
        """Refuse what waits, and whatever comes until the log is open again; try that after a moment."""
        with self._changed:
            self._error, self._is_open, self._is_working = error, False, False
            refused, self._waiting, self._waiting_bytes = list(self._waiting), deque(), 0
            self._changed.notify_all()
        for item in refused:
            self._refuse(item, error)
        with self._changed:
            self._changed.wait_for(lambda: self._ended, _RETRY_SECONDS)

    def _work(self, reading: Reading, follower: Follower) -> None:
        """Take publications in until the publisher is to pause or to end, or the log cannot be written."""
        self._door = reading.door
        ready: Queue[_Ready | None] = Queue(maxsize=1)
        self._begun.set()
        failed = threading.Event()
        reader = threading.Thread(target=self._read, args=(reading, ready, failed), name="clearwell-checker")
        reader.start()
        try:
            while (group := ready.get()) is not None:
                if len(group.batch.lines) >= _WORTH_READING_AHEAD:
                    self._begun.set()
                try:
                    self._take(group, reading.door, follower)
                    self._begun.set()
                except BaseException as error:
                    failed.set()
                    self._begun.set()
                    for item in group.waiting:
                        self._refuse(item, error)
                    raise
        finally:
            self._door = None
            self._begun.set()
            while reader.is_alive():  # It may wait for room.
                while not ready.empty():
                    self._refuse_group(ready.get())
                reader.join(0.01)
            while not ready.empty():
                self._refuse_group(ready.get())

    def _refuse_group(self, group: _Ready | None) -> None:
        error = self._error or StorageError("log_not_writable", "the log could not be written: send the request again")
        for item in group.waiting if group is not None else ():
            self._refuse(item, error)

    def _read(self, reading: Reading, ready: Queue[_Ready | None], failed: threading.Event) -> None:
        try:
            while self._has_begun(failed) and (group := self._next(failed)):
                is_answered = True
                try:
                    for part in self._read_group(reading, self._unknown(group)):
                        is_answered = False
                        ready.put(part)
                except BaseException as error:  # Nobody else knows of the group.
                    for item in group:
                        self._refuse(item, error)
                    is_answered = True
                if is_answered:
                    self._begun.set()
        finally:
            ready.put(None)

    def _has_begun(self, failed: threading.Event) -> bool:
        """Wait until the batch before this one is being taken in, or is, if it is small; what comes is for this one."""
        self._begun.wait()
        self._begun.clear()
        return not failed.is_set()

    def _next(self, failed: threading.Event) -> list[_Waiting]:
        """What is to be the next batch; nothing when the publisher is to pause or to end."""
        with self._changed:
            while not self._changed.wait_for(
                lambda: self._waiting or self._ended or self._pauses or failed.is_set(), _FAILED_SECONDS
            ):
                pass
            if self._pauses or failed.is_set():
                return []
            group: list[_Waiting] = []
            size = 0
            while self._waiting:
                first = self._waiting[0]
                size += len(first.publication.body)
                if group and (size > self._limits.batch_bytes or not first.may_join(group)):
                    break
                group.append(self._waiting.popleft())
                self._waiting_bytes -= len(first.publication.body)
                if first.is_alone:
                    break
            return group

    def _unknown(self, group: list[_Waiting]) -> list[_Waiting]:
        """Answer the requests that were answered before; returns the others."""
        keyed = [item for item in group if item.publication.request_key]
        if not keyed:
            return group
        with self._workspace.catalog.read() as connection:
            known = requests.answers(connection, [item.publication.key_hash for item in keyed])
        for item in keyed:
            found = known.get(item.publication.key_hash)
            if found is None:
                continue
            group.remove(item)
            if found.body_hash == item.publication.body_hash:
                self._answer(item, Outcome.from_text(found.answer))
            else:
                message = "this key belongs to a request with another body: give every request a key of its own"
                self._refuse(item, UsageError("request_key_reused", message))
        return group

    def _read_group(self, reading: Reading, group: list[_Waiting]) -> Iterator[_Ready]:
        """The group as one batch, or where one of it cannot be read, as several."""
        if not group:
            return
        try:
            batch = reading.batch([item.publication for item in group])
            yield _Ready(group, batch, reading.door.check(batch))
        except Exception as error:
            if len(group) == 1:
                self._refuse(group[0], error)
                return
            for item in group:
                yield from self._read_group(reading, [item])

    def _take(self, group: _Ready, door: Door, follower: Follower) -> None:
        found: list[Outcome] = []

        def keep(connection: Connection, taken: Taken) -> None:
            found[:] = group.outcomes(taken)
            answers = [
                requests.Answer(item.publication.key_hash, item.publication.body_hash, outcome.as_text())
                for item, outcome in zip(group.waiting, found, strict=True)
                if item.publication.request_key
            ]
            requests.keep(connection, answers, stored_text(self._workspace.clock()))

        whole = group.waiting[0].publication.whole
        with self._taking, spans.span("batch", [item.span for item in group.waiting]), self._observer.timed("batch"):
            taken = door.take(group.checked, whole=whole, beside=keep)
            for item, outcome in zip(group.waiting, found or group.outcomes(taken), strict=True):
                self._answer(item, outcome)
            self._observer.taken(group.told(taken))
            for part in taken.posted:
                follower.add(part)

    def _answer(self, item: _Waiting, outcome: Outcome) -> None:
        self._forget(item)
        if not item.outcome.done():
            item.outcome.set_result(outcome)

    def _refuse(self, item: _Waiting, error: BaseException) -> None:
        self._forget(item)
        if not item.outcome.done():
            item.outcome.set_exception(error)

    def _forget(self, item: _Waiting) -> None:
        if item.publication.request_key:
            with self._changed:
                self._keys.discard(item.publication.key_hash)


def stopped_error() -> StorageError:
    """What is answered to whoever sends something to a service that stops."""
    return StorageError("service_stopping", "the service is stopping: send the request again in a moment")
