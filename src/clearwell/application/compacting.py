"""Compaction of the log, and removal of the files that it replaced once nobody reads them any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clearwell.application.auditing import note_after
from clearwell.application.projecting import require_whole_log
from clearwell.application.sealing import seal
from clearwell.application.workspace import Workspace, require_ledger
from clearwell.application.writing import writing
from clearwell.catalog import manifest
from clearwell.errors import DataError
from clearwell.log.compaction import compactable, compacted, compaction_row
from clearwell.log.indexes import index_files
from clearwell.log.manifest import chain_faults
from clearwell.log.reader import LogReader
from clearwell.log.retention import is_held_before
from clearwell.values.times import stored_text

_MOST_DETAILS = 20

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Compacted:
    """How many files became how many, and how many that were replaced are gone, or are still read by somebody."""

    files_before: int
    files_after: int
    removed: int
    waiting: int


def compact(workspace: Workspace, report: Progress = lambda _count: None) -> Compacted:
    """Make small files of the log large ones, up to `compaction_events` each; `report` is told the events done.

    What is not sealed is sealed first: from then on the seal, not the hash of a file, tells what the content was. Every
    step is a commit of its own, so that it can be interrupted and repeated. Raises UsageError when the ledger is
    empty, DataError when the manifest is damaged or has lost rows, StorageError when a file is damaged or another
    process writes.
    """
    require_ledger(workspace.periods())
    with writing(workspace) as lease:
        require_whole_log(workspace)
        log = workspace.log(anew=True)
        _require_unbroken_chain(log)
        seal(workspace)
        before = len(log.files)
        models = workspace.known_models()
        for files in list(compactable(log.files, workspace.settings.compaction_events)):
            with workspace.shared.uncommitted:
                written = compacted(log, files, models)
                with lease.write() as connection:
                    number = manifest.newest_compaction(connection) + 1
                    row = compaction_row(number, files, written, stored_text(workspace.clock()))
                    manifest.append_compaction(connection, row.__dict__)
            report(sum(item.event_count for item in files))
        del log  # It holds the files that are to go.
        removed, waiting = remove_replaced(workspace)
        index_files(workspace.log())
    done = Compacted(before, len(workspace.log().files), removed, waiting)
    note_after(workspace, "log.compact", **done.__dict__)
    return done


def _require_unbroken_chain(log: LogReader) -> None:
    """Raise DataError when the manifest was changed: files that the right one names must not be removed."""
    faults = chain_faults(log.segments)
    if faults:
        details = [f"row {item.number}: {item.code}" for item in faults[:_MOST_DETAILS]]
        message = "the manifest is not what was committed, so nothing is compacted. Run `clearwell verify`"
        raise DataError("manifest_damaged", message, details)


def remove_replaced(workspace: Workspace) -> tuple[int, int]:
    """Remove the files that compactions replaced, unless an earlier reader may want them; returns removed, waiting."""
    with workspace.catalog.read() as connection:
        generation = manifest.newest_compaction(connection)
        committed = manifest.file_names(connection)
    current = {item.name for item in workspace.log().files}
    replaced = [path for path in workspace.log_folder.iterdir() if path.name in committed - current]
    if is_held_before(workspace.readers_folder, generation):
        return 0, len(replaced)
    for path in replaced:
        path.unlink(missing_ok=True)
    return len(replaced), 0
