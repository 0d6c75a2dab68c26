"""Projects batches behind the writer's back: in a thread of its own, all that wait together at once.

What is acknowledged is in the log, and needs no projection. So the writer goes on with the next batch while the last
ones are folded; when it has nothing more to write, it waits until the projections have caught up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from clearwell.application.projecting import opened_to_write, project
from clearwell.application.workspace import Workspace
from clearwell.errors import StorageError
from clearwell.ingest.door import PostedEvents

MOST_WAITING_EVENTS = 500_000
"""With so many events waiting, the writer waits too."""

WORTH_EVENTS, WORTH_SECONDS = 200_000, 0.4
"""With fewer events waiting, more are waited for, so long: whatever their number, each fold has fixed costs."""

HELD_SECONDS, LET_GO_SECONDS = 5.0, 0.25
"""So long the projections are kept open at most, and so long they are then left to readers, who ask every 0.1 s."""


class Follower:
    """Takes batches in the order of the log, and projects them in a thread."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing happens before `add`."""
        self._workspace = workspace
        self._changed = threading.Condition()
        self._waiting: list[PostedEvents] = []
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="clearwell-projections", daemon=True)

    def add(self, batch: PostedEvents) -> None:
        """Project these entries soon. Waits while many do. Raises what an earlier batch raised."""
        with self._changed:
            if not self._thread.is_alive() and self._error is None:
                self._thread.start()
            self._changed.wait_for(lambda: self._error or self._has_room(batch))
            self._raise_error()
            self._waiting.append(batch)
            self._changed.notify_all()

    def end(self) -> None:
        """Wait until everything is projected. Raises what a batch raised."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._raise_error()

    def _has_room(self, batch: PostedEvents) -> bool:
        more = batch.last_sequence - batch.first_sequence + 1
        return not self._waiting or self._waiting_events() + more <= MOST_WAITING_EVENTS

    def _waiting_events(self) -> int:
        return self._waiting[-1].last_sequence - self._waiting[0].first_sequence + 1 if self._waiting else 0

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            while batches := self._taken():
                self._project(batches)
        except BaseException as error:  # The writer is told, wherever it is.
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _taken(self, until: float | None = None) -> list[PostedEvents]:
        """What waits when it is worth it, or long enough; nothing at the end, or when nothing has come by `until`."""
        with self._changed:
            patience = None if until is None else max(0.0, min(until - time.monotonic(), WORTH_SECONDS))
            self._changed.wait_for(lambda: self._waiting or self._ended, patience)
            if self._waiting:
                self._changed.wait_for(lambda: self._ended or self._waiting_events() >= WORTH_EVENTS, WORTH_SECONDS)
            batches, self._waiting = self._waiting, []
            self._changed.notify_all()
        return batches

    def _project(self, batches: list[PostedEvents]) -> None:
        """Project these, and what comes meanwhile; every few seconds let readers have the projections."""
        until = time.monotonic() + HELD_SECONDS
        try:
            with closing(opened_to_write(self._workspace)) as store:
                while batches:
                    project(self._workspace, store, batches)
                    batches = self._taken(until) if time.monotonic() < until else []
        except StorageError as error:
            if error.code != "projections_busy":
                raise
            self._workspace.say(
                "The events are in the log; the projections are in use, and will catch up with it later."
            )
        if time.monotonic() >= until:
            time.sleep(LET_GO_SECONDS)


@contextmanager
def following(workspace: Workspace) -> Iterator[Follower]:
    """A follower that has projected everything when the block ends; one that is shared goes on by itself."""
    if workspace.shared.follower is not None:
        yield workspace.shared.follower
        return
    follower = Follower(workspace)
    try:
        yield follower
    except BaseException:
        try:
            follower.end()
        except Exception as error:  # The first error is the one to be told.
            workspace.say(f"The projections could not follow, and will catch up later: {error}")
        raise
    follower.end()
