"""Backups: a copy of everything that cannot be derived, as it was at one instant, while others read and write.

What is in the copy is there before the copy counts, and what counted before stays until then: killed at any point, the
former backup or the new one is whole. Refuses to put a log that lost events, or another one, in the place of a backup.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from clearwell.application.backups import (
    CATALOG,
    SECRETS,
    TEXTS,
    Backup,
    is_state,
    locked,
    log_folder,
    manifest_of,
    next_state,
    read_backup,
    strangers,
    text_files,
    text_in_state,
    write_backup,
)
from clearwell.application.backups import FORMAT as BACKUP_FORMAT
from clearwell.application.workspace import Workspace, require_ledger
from clearwell.catalog import manifest
from clearwell.catalog.copying import copy_database, reading_copy
from clearwell.errors import DataError, StorageError, UsageError
from clearwell.log.copying import FileHash, copy_file, file_hash, make_folder, sync_names, sync_tree
from clearwell.log.manifest import LogFile, chain_faults
from clearwell.log.reader import LogReader
from clearwell.values.times import stored_text

Progress = Callable[[int, float], None]
"""Told, per piece: its bytes, and the share of the log that is dealt with."""


@dataclass(frozen=True)
class BackedUp:
    """What a backup holds, and how many files of the log it took to bring it there. `head` is as in `Verification`."""

    made_at: str
    segments: int
    events: int
    head: str
    copied: int
    copied_bytes: int
    kept: int
    removed: int


def back_up(
    workspace: Workspace,
    destination: Path,
    *,
    check: bool = False,
    report: Progress = lambda _bytes, _share: None,
) -> BackedUp:
    """Bring the backup in the folder `destination` up to the ledger as it is now; the first time, make it.

    Files of the log that are there already are not copied again; with `check` they are hashed, and copied anew when
    they are damaged. Raises UsageError when the ledger is empty and when the folder is none for this ledger's backup,
    DataError when the log is shorter than the backup or damaged, StorageError when a file cannot be read or written.
    """
    require_ledger(workspace.periods())
    folder = destination.resolve()
    _require_apart(workspace, folder)
    try:
        make_folder(folder, 0o700)
        if found := strangers(folder):
            message = f"expected a backup or an empty folder at {folder}, found {', '.join(found[:5])} in it"
            raise UsageError("backup_folder_not_empty", message)
        with locked(folder, alone=True):
            return _backed_up(workspace, folder, check, report)
    except OSError as error:
        message = f"the backup cannot be written, and whatever was whole in {folder} still is: {error}"
        raise StorageError("backup_not_writable", message) from error


def _backed_up(workspace: Workspace, folder: Path, check: bool, report: Progress) -> BackedUp:
    former = read_backup(folder)
    _held = workspace.log()  # From here on no file is removed that the copied catalog can name.
    state = folder / next_state(former)
    if state.exists():  # The rest of a backup that was interrupted.
        shutil.rmtree(state)
    made_at = stored_text(workspace.clock())  # What is acknowledged by now is in the backup.
    try:
        state.mkdir(mode=0o700)
        log, copied, files = _copied(workspace, folder, former, check, report)
    except Exception:
        shutil.rmtree(state, ignore_errors=True)
        raise
    backup = Backup(
        format=BACKUP_FORMAT,
        made_at=made_at,
        state=state.name,
        segments=len(log.segments),
        events=log.last_sequence,
        head=log.segments[-1].hash if log.segments else "",
        files=files,
    )
    write_backup(folder, backup)
    removed = _tidy(folder, backup, {file.name for file in log.files})
    return BackedUp(
        made_at=backup.made_at,
        segments=backup.segments,
        events=backup.events,
        head=backup.head,
        copied=len(copied),
        copied_bytes=sum(file.bytes for file in copied),
        kept=len(log.files) - len(copied),
        removed=removed,
    )


def _copied(
    workspace: Workspace, folder: Path, former: Backup | None, check: bool, report: Progress
) -> tuple[LogReader, list[LogFile], dict[str, FileHash]]:
    """Copy all that a new backup needs, durably; returns its log, the files of the log copied, and those of the state.

    The secrets come after the catalog: whatever an event of its log needs was durable before that event.
    """
    state = folder / next_state(former)
    workspace.catalog.copy(state / CATALOG)
    log = _log_of(state / CATALOG, workspace.log_folder)
    _require_continued(folder, former, log)
    log_folder(folder).mkdir(exist_ok=True, mode=0o700)
    copied = _copy_log(log, log_folder(folder), _trusted(folder, former, check), report)
    files = {CATALOG: file_hash(state / CATALOG)}
    files |= _copy_secrets(workspace, state, former)
    files |= _copy_texts(workspace, state)
    sync_tree(state)
    sync_tree(log_folder(folder))
    sync_names(folder)
    return log, copied, files


def _require_apart(workspace: Workspace, folder: Path) -> None:
    """Raise UsageError when the backup would lie in what is backed up, or around it."""
    for path in [workspace.data_folder, *(workspace.folder / name for name in TEXTS)]:
        own = path.resolve()
        if folder.is_relative_to(own) or own.is_relative_to(folder):
            raise UsageError("backup_not_apart", f"expected a folder for backups apart from {own}, found {folder}")


def _log_of(catalog: Path, folder: Path) -> LogReader:
    """The log of a copied catalog. Raises DataError when its chain is broken: a backup of that is none."""
    with reading_copy(catalog) as connection:
        segments, compactions = manifest_of(connection)
    if faults := chain_faults(segments):
        message = f"the manifest has {len(faults)} fault(s): nothing was backed up. Run `clearwell verify`"
        raise DataError("manifest_damaged", message, [f"manifest row {item.number}: {item.code}" for item in faults])
    return LogReader(folder, segments, compactions)


def _require_continued(folder: Path, former: Backup | None, log: LogReader) -> None:
    """Raise unless the log begins with the one that was backed up."""
    if former is None or not former.segments:
        return
    shorter = len(log.segments) < former.segments
    if not (_is_beginning(former.state_folder(folder), log) if shorter else _goes_on_from(former, log)):
        raise UsageError(
            "backup_of_another_ledger",
            f"{folder} has a backup of another ledger, or of one that went on otherwise since then: its segment "
            f"{former.segments} has the hash {former.head}. Name another folder",
        )
    if shorter:
        raise DataError(
            "backup_longer_than_log",
            f"the log ends at sequence {log.last_sequence}, but {folder} has events up to {former.events}: they were "
            "lost here. Restore the backup; only if those events are to be given up, name another folder",
        )


def _goes_on_from(former: Backup, log: LogReader) -> bool:
    return log.segments[former.segments - 1].hash == former.head


def _is_beginning(state: Path, log: LogReader) -> bool:
    """Whether the log is a beginning of the one that was backed up; it is taken for one when that cannot be read."""
    if not log.segments:
        return True
    try:
        with reading_copy(state / CATALOG) as connection:
            return manifest.row_hash(connection, len(log.segments)) == log.segments[-1].hash
    except StorageError:
        return True


def _trusted(folder: Path, former: Backup | None, check: bool) -> Mapping[str, str]:
    """Files of the log that are known to be in the backup without being read again: name to SHA-256."""
    if former is None or check:
        return {}
    try:
        with reading_copy(former.state_folder(folder) / CATALOG) as connection:
            return manifest.file_hashes(connection)
    except StorageError:  # A damaged catalog of the former backup vouches for nothing.
        return {}


def _copy_log(log: LogReader, folder: Path, trusted: Mapping[str, str], report: Progress) -> list[LogFile]:
    """Copy the files of the log that `folder` lacks; returns which. Raises StorageError for one that has changed."""
    total = max(sum(file.bytes for file in log.files), 1)
    copied, done = [], 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        report(count, done / total)

    for file in log.files:
        if _is_there(folder / file.name, file, trusted):
            done += file.bytes
            continue
        found = copy_file(log.path(file), folder / file.name, expected=file.sha256, report=tell)
        if found.sha256 != file.sha256:
            raise StorageError(
                "segment_changed",
                f"{file.name}: expected SHA-256 {file.sha256}, found {found.sha256}: nothing was backed up. "
                "Run `clearwell verify`",
            )
        copied.append(file)
    return copied


def _is_there(path: Path, file: LogFile, trusted: Mapping[str, str]) -> bool:
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return trusted.get(file.name) == file.sha256 or file_hash(path).sha256 == file.sha256


def _copy_secrets(workspace: Workspace, state: Path, former: Backup | None) -> dict[str, FileHash]:
    """Copy the secrets, as wholes: a key that was destroyed is not in the backup any more."""
    copied = {}
    for name in SECRETS:
        source = workspace.data_folder / name
        if source.suffix == ".sqlite" and source.exists():
            copy_database(source, state / name)
            copied[name] = file_hash(state / name)
        elif source.exists():
            copied[name] = copy_file(source, state / name)
        elif former is not None and name in former.files:
            message = f"{source} is not there, but it was when the last backup was made: put it back, or name another "
            raise DataError("data_file_missing", f"{message}folder for the backup")
    return copied


def _copy_texts(workspace: Workspace, state: Path) -> dict[str, FileHash]:
    copied = {}
    for name, source in text_files(workspace.folder).items():
        target = state / text_in_state(name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copied[text_in_state(name)] = copy_file(source, target)
    return copied


def _tidy(folder: Path, backup: Backup, names: Collection[str]) -> int:
    """Remove what is no part of the backup any more; returns how many files of the log that were."""
    for path in folder.iterdir():
        if is_state(path) and path.name != backup.state:
            shutil.rmtree(path)
    gone = [path for path in log_folder(folder).iterdir() if path.name not in names]
    for path in gone:
        path.unlink()
    sync_names(folder)
    return sum(1 for path in gone if not path.name.endswith(".part"))
