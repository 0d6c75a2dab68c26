"""What a backup is on disk, for those who make one and those who restore it.

`backup.json` is the backup: it names the folder of its state (catalog, keys, the project's texts) with the hash of
each file. The files of the log are beside it, in `log`, as the catalog names them. Whatever else is there is the rest
of a backup that was interrupted.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection

from clearwell.catalog import manifest
from clearwell.errors import StorageError
from clearwell.log.copying import FileHash, blocks_of, sync_names, write_file
from clearwell.log.manifest import Compaction, Segment
from clearwell.settings import FILE_NAME

FORMAT = 1
CATALOG = "catalog.sqlite"
SECRETS = ("keys.sqlite", "checkpoint-key.pem")
"""Files of the data folder that are backed up where they are there, which nothing else can replace."""

TEXTS = (FILE_NAME, "flows", "sources", "corrections")
"""What people wrote of a project, which is backed up too: files, and folders with all that is in them."""

_DESCRIPTION = "backup.json"
_LOCK = "lock"
_STATE = "state-"
_PROJECT = "project/"


class Backup(BaseModel):
    """A whole backup: where it stands in the log, and every file of its state."""

    model_config = ConfigDict(frozen=True)

    format: int
    made_at: str
    state: str
    segments: int
    events: int
    head: str
    files: dict[str, FileHash]

    def state_folder(self, folder: Path) -> Path:
        """Where the state is, in the backup's folder."""
        return folder / self.state

    def texts(self) -> dict[str, str]:
        """The files of the project's texts: their name in the project, and in the state."""
        return {name.removeprefix(_PROJECT): name for name in self.files if name.startswith(_PROJECT)}


def next_state(former: Backup | None) -> str:
    """The name of the folder for a new state, which is not the former one's."""
    return _state_name(1 + (int(former.state.removeprefix(_STATE)) if former else 0))


def _state_name(number: int) -> str:
    return f"{_STATE}{number:08d}"


def text_in_state(name: str) -> str:
    """Where the state has a text of the project."""
    return _PROJECT + name


def log_folder(folder: Path) -> Path:
    """Where a backup has the files of the log."""
    return folder / "log"


def strangers(folder: Path) -> list[str]:
    """Names in `folder` that no backup makes."""
    own = {_DESCRIPTION, f".{_DESCRIPTION}.part", _LOCK, log_folder(folder).name}
    return sorted(path.name for path in folder.iterdir() if path.name not in own and not is_state(path))


def is_state(path: Path) -> bool:
    """Whether a path has the name of a state's folder."""
    number = path.name.removeprefix(_STATE)
    return path.name.startswith(_STATE) and number.isdecimal() and path.name == _state_name(int(number))


def read_backup(folder: Path) -> Backup | None:
    """The backup in `folder`, None when there is no whole one.

    Raises StorageError when its description is damaged, or of a later version.
    """
    path = folder / _DESCRIPTION
    if not path.is_file():
        return None
    try:
        backup = Backup.model_validate_json(b"".join(blocks_of(path)))
    except ValidationError as error:
        raise damaged([f"{path}: {item['msg']} at {item['loc']}" for item in error.errors()]) from error
    if backup.format > FORMAT:
        message = f"{path} has format {backup.format}, this Clearwell knows up to {FORMAT}: upgrade Clearwell"
        raise StorageError("backup_too_new", message)
    foreign = [name for name in backup.files if not is_of_a_state(name)]
    if foreign or not is_state(folder / backup.state):
        raise damaged([f"{path}: it names what is no part of a backup: {', '.join(foreign) or backup.state}"])
    if missing := {CATALOG, text_in_state(FILE_NAME)} - backup.files.keys():
        raise damaged([f"{path}: it does not name {', '.join(sorted(missing))}"])
    return backup


def is_of_a_state(name: str) -> bool:
    """Whether a file of this name is part of a state; one that leads out of it never is."""
    parts = PurePosixPath(name.removeprefix(_PROJECT)).parts
    is_text = name.startswith(_PROJECT) and parts[:1] and parts[0] in TEXTS and ".." not in parts
    return bool(is_text) or name in {CATALOG, *SECRETS}


def write_backup(folder: Path, backup: Backup) -> None:
    """Make `backup`, whose files are durable already, the one that counts: all at once. Raises OSError."""
    write_file(folder / _DESCRIPTION, [backup.model_dump_json(indent=1).encode()])
    sync_names(folder)


def damaged(details: list[str]) -> StorageError:
    """The error that says what of a backup is not as it was written."""
    message = f"the backup is damaged: {len(details)} file(s) are not as they were written"
    return StorageError("backup_damaged", message, details)


def manifest_of(connection: Connection) -> tuple[list[Segment], list[Compaction]]:
    """The manifest and the compactions of a catalog that nobody writes to."""
    segments = [Segment.from_mapping(dict(row)) for row in manifest.segment_rows(connection)]
    return segments, [Compaction.from_mapping(dict(row)) for row in manifest.compaction_rows(connection)]


def text_files(folder: Path) -> dict[str, Path]:
    """The files of a project's texts, by name relative to the project."""
    found = [path for name in TEXTS for path in (folder / name, *sorted((folder / name).rglob("*"))) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path for path in found}


@contextmanager
def locked(folder: Path, *, alone: bool) -> Iterator[Path]:
    """Keep those who write to `folder`, or with `alone` also those who read, from it; gives the lock file.

    Raises StorageError (`backup_busy`) when somebody is at work there. A copy without a lock file is read unlocked.
    """
    path = folder / _LOCK
    if not alone and not path.exists():
        yield path
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT if alone else os.O_RDONLY, 0o600)
    try:
        _lock(descriptor, folder, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield path
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"another process is using {folder}; try again when it has finished"
        raise StorageError("backup_busy", message) from error
