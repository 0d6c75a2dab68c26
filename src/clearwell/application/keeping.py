"""Keeps the projections open in a process that stays, and at most a moment behind the log.

Readers of the process share them. Another process gets them for a moment when it asks: then they are closed, and opened
again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clearwell.application import spans
from clearwell.application.catching_up import LET_GO_SECONDS, Follower
from clearwell.application.projecting import opened_to_write, project, wanted_by_others
from clearwell.application.workspace import Workspace
from clearwell.errors import StorageError
from clearwell.ingest.door import PostedEvents
from clearwell.projections.follow import follow
from clearwell.projections.store import ProjectionStore

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

CHECKPOINT_SECONDS = 60.0
"""So much of the log, at most, is folded again after a crash."""

_LEAST_PATIENCE_SECONDS, _MOST_PATIENCE_SECONDS = 0.05, 0.5
_RESTS = 5
"""After a fold it rests so many times as long as that took."""
_LOOK_SECONDS = 0.2
_MOST_COMMITTED = 10_000
_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Lag:
    """How far the projections are behind the log: events, and seconds since the first of these was committed."""

    events: int
    seconds: float


@dataclass(frozen=True)
class _Committed:
    """Up to which sequence the log was committed, when by the steady clock, and in which span."""

    last_sequence: int
    at_seconds: float
    span: SpanContext | None


class Keeper(Follower):
    """A follower that keeps the projections open, and goes on after an error: the log has what it missed."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing is opened before `start`."""
        super().__init__(workspace)
        self.applied_sequence = 0
        self.error: StorageError | None = None
        self._patience = _LEAST_PATIENCE_SECONDS
        self.has_followed = False
        """Whether the projections were ever up to the log, as it was when the keeper began."""
        self._committed: deque[_Committed] = deque()
        self._listeners: set[Callable[[int], None]] = set()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def add(self, batch: PostedEvents) -> None:
        """Project these entries soon. Nobody waits for that: where too many are waiting, they are read from the log."""
        with self._changed:
            if len(self._committed) < _MOST_COMMITTED:
                self._committed.append(_Committed(batch.last_sequence, time.monotonic(), spans.here()))
            else:
                self._committed[-1] = replace(self._committed[-1], last_sequence=batch.last_sequence)
            if not self._has_room(batch):
                self._waiting = []
            self._waiting.append(batch)
            self._changed.notify_all()

    def lag(self) -> Lag:
        """How far the projections are behind what was committed since the keeper began."""
        with self._changed:
            behind = [item for item in self._committed if item.last_sequence > self.applied_sequence]
            if not behind:
                return Lag(0, 0.0)
            return Lag(behind[-1].last_sequence - self.applied_sequence, time.monotonic() - behind[0].at_seconds)

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Tell `listener`, in the keeper's thread, each sequence that was applied; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def reached(self, sequence: int, seconds: float) -> bool:
        """Wait until a sequence is applied, so long at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.applied_sequence >= sequence, seconds)

    def _run(self) -> None:
        while not self._ended:
            try:
                with closing(opened_to_write(self._workspace, shared=True)) as store:
                    follow(store, self._workspace.log(), self._workspace.known_models())
                    self._tell(store)
                    self._keep(store)
            except StorageError as error:
                self._put_off(error)
            except BaseException as error:
                self._workspace.say(f"The projections could not follow, and begin anew: {error!r}")
                self._put_off(StorageError("projections_failed", f"the projections could not follow: {error!r}"))
            if not self._ended:
                time.sleep(LET_GO_SECONDS)

    def _put_off(self, error: StorageError) -> None:
        """Forget what waits, for the log has it, and try again in a moment."""
        self.error = error
        with self._changed:
            self._waiting = []
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended, _RETRY_SECONDS)

    def _keep(self, store: ProjectionStore) -> None:
        """Apply what comes until the end, or until another process wants the projections."""
        look_at = checkpoint_at = time.monotonic()
        while True:
            batches = self._next()
            if batches:
                began = time.monotonic()
                with spans.span("fold", self._spans_upto(batches[-1].last_sequence)):
                    project(self._workspace, store, batches)
                self._tell(store)
                # Each fold has fixed costs: under load, most of the time is left to what comes in.
                taken = time.monotonic() - began
                self._patience = min(max(_RESTS * taken, _LEAST_PATIENCE_SECONDS), _MOST_PATIENCE_SECONDS)
            elif self._ended:
                return
            now = time.monotonic()
            if now - look_at >= _LOOK_SECONDS:
                look_at = now
                if wanted_by_others(self._workspace):
                    return
            if now - checkpoint_at >= CHECKPOINT_SECONDS and store.checkpoint():
                checkpoint_at = now

    def _next(self) -> list[PostedEvents]:
        """What waits, a moment after the first of it came; nothing when nothing comes for a while."""
        with self._changed:
            if self._changed.wait_for(lambda: self._waiting or self._ended, _LOOK_SECONDS) and not self._ended:
                self._changed.wait_for(lambda: self._ended, self._patience)
            batches = [item for item in self._waiting if item.last_sequence > self.applied_sequence]
            self._waiting = []
            self._changed.notify_all()
        return batches

    def _spans_upto(self, last_sequence: int) -> list[SpanContext | None]:
        with self._changed:
            return [item.span for item in self._committed if item.last_sequence <= last_sequence]

    def _tell(self, store: ProjectionStore) -> None:
        self.error = None
        with self._changed:
            self.applied_sequence, self.has_followed = store.applied_sequence, True
            while self._committed and self._committed[0].last_sequence <= self.applied_sequence:
                self._committed.popleft()
            self._changed.notify_all()
        for listener in list(self._listeners):
            listener(self.applied_sequence)


@contextmanager
def keeping(workspace: Workspace) -> Iterator[Keeper]:
    """Projections that are kept open, and followed, until the block ends."""
    keeper = Keeper(workspace)
    workspace.shared.follower = keeper
    keeper.start()
    try:
        yield keeper
    finally:
        workspace.shared.follower = None
        keeper.end()
