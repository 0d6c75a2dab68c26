"""Opens the projections, brings them up to the log, and mends them when they are missing or damaged.

Questions read without a lock on each other; only applying a batch, which is short, excludes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clearwell.application.announcing import running_service
from clearwell.application.auditing import note_after
from clearwell.application.workspace import Workspace
from clearwell.errors import DataError, StorageError
from clearwell.ledger.posting import Posted
from clearwell.log.reader import LogReader
from clearwell.projections.follow import follow
from clearwell.projections.store import ProjectionStore

WAIT_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_ATTEMPTS = 3

if TYPE_CHECKING:
    from clearwell.ingest.door import PostedEvents  # Few commands need the door.

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Projected:
    """Projections opened for reading, and exactly the log that they are the projections of."""

    store: ProjectionStore
    log: LogReader


@contextmanager
def projections(workspace: Workspace) -> Iterator[Projected]:
    """The projections of the whole log, for reading. A damaged file is said aloud and rebuilt.

    Where a writer adds to the log faster than one can look, or a service keeps the projections, the state that it has
    reached is read. Raises DataError when the log has lost events that were projected, StorageError when a writer keeps
    the file for long.
    """
    for _ in range(_ATTEMPTS):
        with closing(_opened(workspace, read_only=True)) as store:
            log = workspace.log()
            _require_whole(store, log)
            if store.applied_sequence == log.last_sequence:
                yield Projected(store, log)
                return
            if workspace.projection_reading.is_shared or running_service(workspace.data_folder) is not None:
                yield Projected(store, log.upto(store.applied_sequence))
                return
        catch_up(workspace)
    with closing(_opened(workspace, read_only=True)) as store:
        yield Projected(store, workspace.log().upto(store.applied_sequence))


@contextmanager
def projections_from(workspace: Workspace, sequence: int) -> Iterator[Projected]:
    """As `projections`, of the log up to `sequence` at least: a service that keeps them may be a moment behind.

    Raises StorageError (`projections_behind`) when they do not come so far.
    """
    give_up_at = time.monotonic() + WAIT_SECONDS
    while True:
        with projections(workspace) as projected:
            reached = projected.store.applied_sequence
            if reached >= sequence:
                yield projected
                return
        if time.monotonic() >= give_up_at:
            message = f"the service has projected the log up to {reached}, and not up to {sequence}: try again"
            raise StorageError("projections_behind", message)
        time.sleep(_PAUSE_SECONDS)


def require_whole_log(workspace: Workspace) -> None:
    """Raise DataError when the log has lost events that were projected, so that nothing is written over them."""
    with closing(_opened(workspace, read_only=True)) as store:
        _require_whole(store, workspace.log())


def catch_up(workspace: Workspace, report: Progress = lambda _count: None, *, anew: bool = False) -> int:
    """Apply what the log has beyond the projections, or with `anew` all of it; returns the number of events.

    Raises as `projections` does.
    """
    with closing(_opened(workspace)) as store:
        if anew:
            store.clear()
        log = workspace.log()
        _require_whole(store, log)
        count = follow(store, log, workspace.known_models(), report)
    if anew:
        note_after(workspace, "projections.rebuild", events=count)
    return count


def opened_to_write(workspace: Workspace, *, shared: bool = False) -> ProjectionStore:
    """The projections, for applying batches; no other process can open them until they are closed.

    If they are `shared`, others in this process can read them meanwhile. Raises StorageError when readers keep the file
    for long.
    """
    return _opened(workspace, shared=shared)


def wanted_by_others(workspace: Workspace) -> bool:
    """Whether another process has asked for the projections since this was asked last."""
    try:
        _wish(workspace).unlink()
    except FileNotFoundError:
        return False
    return True


def _wish(workspace: Workspace) -> Path:
    return workspace.data_folder / "projections.wanted"


def project(workspace: Workspace, store: ProjectionStore, batches: Sequence[PostedEvents]) -> None:
    """Apply batches, which are durable, together; where one before or between them is missing, from the log."""
    expected = store.applied_sequence + 1
    for batch in batches:
        if batch.first_sequence != expected:
            follow(store, workspace.log(), workspace.known_models())
            return
        expected = batch.last_sequence + 1
    posted = Posted.joined([batch.posted for batch in batches])
    store.apply(posted, batches[0].first_sequence, batches[-1].last_sequence)


def _require_whole(store: ProjectionStore, log: LogReader) -> None:
    if store.applied_sequence > log.last_sequence:
        raise DataError(
            "log_shorter_than_projections",
            f"the log ends at sequence {log.last_sequence}, but events up to {store.applied_sequence} were projected: "
            "the catalog or the log is older than it should be. Restore what is missing; "
            "only if those events are to be given up, run `clearwell rebuild`",
        )


def _make(workspace: Workspace) -> None:
    """Make empty projections where there are none of this format, unless somebody else is at it."""
    try:
        ProjectionStore(workspace.projection_path).close()
    except StorageError as error:
        if error.code != "projections_busy":
            raise
        time.sleep(_PAUSE_SECONDS)


def _opened(workspace: Workspace, *, read_only: bool = False, shared: bool = False) -> ProjectionStore:
    give_up_at = time.monotonic() + WAIT_SECONDS
    mended = False
    _reading = workspace.projection_reading  # The store uses it, and it outlives the store.
    while True:
        try:
            return ProjectionStore(
                workspace.projection_path, read_only=read_only, shared_with=workspace.log_folder if shared else None
            )
        except StorageError as error:
            if error.code == "projections_busy" and time.monotonic() < give_up_at:
                if read_only:  # A service keeps them, until somebody asks.
                    with suppress(OSError):
                        _wish(workspace).touch()
                time.sleep(_PAUSE_SECONDS)
            elif error.code == "projections_not_current" and read_only and time.monotonic() < give_up_at:
                _make(workspace)
            elif error.code == "projections_damaged" and not mended and not (read_only and _reading.is_shared):
                mended = True
                workspace.say(f"The projections were damaged, and are being rebuilt from the log: {error.message}")
                for path in workspace.data_folder.glob(f"{workspace.projection_path.name}*"):
                    path.unlink()
            else:
                raise
