"""Opens the projections, brings them up to the log, and mends them when they are missing or damaged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clearwell.application.workspace import Workspace
from clearwell.errors import StorageError
from clearwell.projections.follow import follow
from clearwell.projections.store import ProjectionStore

_WAIT_SECONDS = 10.0
_PAUSE_SECONDS = 0.2

Progress = Callable[[int], None]


@contextmanager
def projections(workspace: Workspace, report: Progress = lambda _count: None) -> Iterator[ProjectionStore]:
    """The projections with the whole log applied. A damaged file is said aloud and rebuilt."""
    store = _opened(workspace)
    try:
        log = workspace.log()
        if store.applied_sequence > log.last_sequence:
            workspace.say("The projections are ahead of the log, which cannot be: rebuilding them.")
            store.clear()
        follow(store, log, workspace.known_models(), report)
        yield store
    finally:
        store.close()


def rebuild(workspace: Workspace, report: Progress = lambda _count: None) -> int:
    """Throw the projections away and fold the whole log again; returns the number of events."""
    store = _opened(workspace)
    try:
        store.clear()
        return follow(store, workspace.log(), workspace.known_models(), report)
    finally:
        store.close()


def _opened(workspace: Workspace) -> ProjectionStore:
    give_up_at = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return ProjectionStore(workspace.projection_path)
        except StorageError as error:
            if error.code == "projections_busy" and time.monotonic() < give_up_at:
                time.sleep(_PAUSE_SECONDS)
            elif error.code == "projections_damaged":
                workspace.say(f"The projections were damaged, and are being rebuilt from the log: {error.message}")
                for path in workspace.data_folder.glob(f"{workspace.projection_path.name}*"):
                    path.unlink()
            else:
                raise
