"""Restoring: makes a project of a backup. Every file is held against its hash before anything takes its place.

Never writes over what is there: an own `clearwell.yaml` keeps its project's texts, and the data folder must be empty.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from clearwell.application.backups import (
    CATALOG,
    SECRETS,
    Backup,
    damaged,
    locked,
    log_folder,
    manifest_of,
    read_backup,
    text_files,
)
from clearwell.application.pairing import LEDGER_ID, folder_id, new_ledger_id, write_folder_id
from clearwell.application.workspace import address_of
from clearwell.catalog.copying import reading_copy
from clearwell.catalog.database import Database, known_ledger
from clearwell.catalog.lease import clear_lease
from clearwell.errors import StorageError, UsageError
from clearwell.log.copying import (
    PRIVATE,
    USUAL,
    FileHash,
    aside,
    copy_file,
    file_hash,
    make_folder,
    sync_names,
    sync_tree,
)
from clearwell.log.manifest import LogFile, current_files
from clearwell.settings import FILE_NAME, read_settings

Progress = Callable[[int, float], None]
"""Told, per piece: its bytes, and the share of the log that is there."""


@dataclass(frozen=True)
class Restored:
    """What was restored: the backup's time and extent, and the data folder it is in now."""

    made_at: str
    segments: int
    events: int
    head: str
    data_folder: Path


def restore(
    source: Path, folder: Path, report: Progress = lambda _bytes, _share: None, catalog_url: str = ""
) -> Restored:
    """Make `folder` the project whose backup is in `source`, with its ledger; projections are made when first needed.

    With `catalog_url` (`settings.catalog_url`) its catalog comes into that schema of PostgreSQL, which must be empty.
    Nothing counts before all of it is there, so an interrupted run can be repeated. Raises UsageError when `source`
    has no backup or `folder` has other content, StorageError when the backup is damaged, with every file that is, or
    when a file cannot be written.
    """
    if not source.is_dir():
        raise UsageError("backup_not_found", f"expected a backup at {source}, found no folder")
    try:
        with locked(source, alone=False):
            backup = read_backup(source)
            if backup is None:
                raise UsageError("backup_not_found", f"expected a backup in {source}, found none that was finished")
            return _restored(source, backup, folder.resolve(), report, address_of(catalog_url))
    except OSError as error:
        raise StorageError("restore_not_writable", f"the project cannot be written: {error}") from error


def _restored(source: Path, backup: Backup, folder: Path, report: Progress, address: URL | None) -> Restored:
    state = backup.state_folder(source)
    _require_sound(state, backup)
    has_own_texts = (folder / FILE_NAME).exists()
    if not has_own_texts:
        _require_no_others(state, backup, folder)
    settings = read_settings(folder if has_own_texts else (state / backup.texts()[FILE_NAME]).parent)
    data = (folder / settings.data).resolve()
    if folder.is_relative_to(source.resolve()) or data.is_relative_to(source.resolve()):
        raise UsageError("restore_not_apart", f"expected a folder apart from the backup, found {folder} and {data}")
    _require_empty(data)
    beside = data.with_name(f"{data.name}.restoring")
    make_folder(beside, 0o700)
    with locked(beside, alone=True) as lock:
        _require_empty(data)
        unfinished = folder_id(beside)
        if address is not None:
            _require_free(address, unfinished)
        _clear(beside, {lock, beside / LEDGER_ID} if address is not None else {lock})
        try:
            _fill(source, backup, beside, report)
        except Exception:
            if unfinished is None:
                shutil.rmtree(beside, ignore_errors=True)
            raise
        if address is not None:
            _move_catalog(beside, address, unfinished or new_ledger_id())
        if not has_own_texts:
            _write_texts(state, backup, folder)
        lock.unlink()
        beside.replace(data)
        sync_names(data.parent)
    return Restored(backup.made_at, backup.segments, backup.events, backup.head, data)


def _require_sound(state: Path, backup: Backup) -> None:
    """Raise StorageError unless every file of the state is as it was written."""
    if wrong := [name for name, expected in backup.files.items() if not _is_sound(state / name, expected)]:
        raise damaged(wrong)


def _is_sound(path: Path, expected: FileHash) -> bool:
    try:
        return file_hash(path) == expected
    except StorageError:
        return False


def _require_no_others(state: Path, backup: Backup, folder: Path) -> None:
    """Raise UsageError when the folder has texts of a project that are not the backup's."""
    texts = backup.texts()
    unfinished = {aside(folder / name) for name in texts}  # The rest of a restoring that was interrupted.
    for name, path in text_files(folder).items():
        if path in unfinished:
            continue
        if name not in texts or file_hash(path) != backup.files[texts[name]]:
            raise UsageError(
                "restore_not_empty",
                f"expected a new folder, or a project with its own {FILE_NAME}; found {path}, which the backup "
                f"{'has otherwise' if name in texts else 'lacks'}",
            )


def _require_empty(data: Path) -> None:
    if data.is_mount():
        message = f"expected a data folder that can be renamed; {data} is a mount point: name a folder in it as `data`"
        raise UsageError("restore_on_mount_point", f"{message} in {FILE_NAME}")
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        message = f"expected no data folder at {data}, or an empty one: restore into another folder, or move it away"
        raise UsageError("restore_not_empty", message)


def _clear(beside: Path, kept: set[Path]) -> None:
    """Remove the rest of a restoring that was interrupted, but for the id that a catalog may have got from it."""
    for path in beside.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path not in kept:
            path.unlink()


def _require_free(address: URL, unfinished: str | None) -> None:
    """Raise UsageError when a schema of PostgreSQL has the catalog of a ledger other than the unfinished one."""
    found = known_ledger(address)
    if found not in (None, unfinished):
        message = f"expected no catalog where CLEARWELL_CATALOG_URL says, found that of ledger {found}"
        raise UsageError("restore_not_empty", f"{message}: name another schema")


def _move_catalog(data: Path, address: URL, ledger: str) -> None:
    """Bring the catalog of a data folder into PostgreSQL, all at once, and make the two one ledger."""
    write_folder_id(data, ledger)
    catalog = Database(address)
    try:
        with reading_copy(data / CATALOG) as source:
            catalog.fill(source, ledger)
    finally:
        catalog.close()
    for path in data.glob(f"{CATALOG}*"):
        path.unlink()
    sync_names(data)


def _fill(source: Path, backup: Backup, data: Path, report: Progress) -> None:
    """Make `data` a data folder of the backup's catalog, secrets and log, durably. Nobody has the writer's lease."""
    state = backup.state_folder(source)
    for name in (CATALOG, *SECRETS):
        if name in backup.files:
            mode = PRIVATE if name in SECRETS else USUAL
            expected = backup.files[name]
            if copy_file(state / name, data / name, expected=expected.sha256, mode=mode) != expected:
                raise damaged([name])
    (data / "log").mkdir()
    _copy_log(log_folder(source), _opened(data / CATALOG, backup), data / "log", report)
    sync_tree(data)


def _opened(path: Path, backup: Backup) -> list[LogFile]:
    """Bring a restored catalog to this version and free its lease; returns the files of its log."""
    catalog = Database(path)
    try:
        clear_lease(catalog)
        with catalog.read() as connection:
            segments, compactions = manifest_of(connection)
    finally:
        catalog.close()
    files = current_files(segments, compactions)
    if (segments[-1].hash if segments else "") != backup.head or any(
        Path(file.name).name != file.name for file in files
    ):
        raise damaged([CATALOG])
    return files


def _copy_log(source: Path, files: Sequence[LogFile], target: Path, report: Progress) -> None:
    """Copy the files of the log. Raises StorageError when some are damaged, and says which they all are."""
    total = max(sum(file.bytes for file in files), 1)
    wrong, done = [], 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        report(count, done / total)

    for file in files:
        try:
            found = copy_file(source / file.name, target / file.name, expected=file.sha256, mode=USUAL, report=tell)
        except StorageError as error:
            wrong.append(f"log/{file.name}: {error.message}")
            continue
        if found.sha256 != file.sha256:
            wrong.append(f"log/{file.name}: expected SHA-256 {file.sha256}, found {found.sha256}")
    if wrong:
        raise damaged(wrong)


def _write_texts(state: Path, backup: Backup, folder: Path) -> None:
    """Write the project's texts, its settings last: they make it a project."""
    for name, stored in sorted(backup.texts().items(), key=lambda item: item[0] == FILE_NAME):
        target = folder / name
        make_folder(target.parent)
        if copy_file(state / stored, target, expected=backup.files[stored].sha256, mode=USUAL) != backup.files[stored]:
            raise damaged([stored])
        sync_names(target.parent)
