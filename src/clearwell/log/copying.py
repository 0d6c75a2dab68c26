"""Copies files so that the copies survive a power cut, hashing what is copied. A copy appears whole, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clearwell.errors import StorageError
from clearwell.log.writer import sync_folder

PRIVATE = 0o600
"""The mode of a file that is its owner's alone."""

USUAL = 0o666
"""The mode of a file as the process's umask has it."""

_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class FileHash:
    """How large a file is, and its SHA-256."""

    bytes: int
    sha256: str


def blocks_of(path: Path) -> Iterator[bytes]:
    """A file's content, piece by piece. Raises StorageError (`file_unreadable`), never OSError."""
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise StorageError("file_unreadable", f"{path} cannot be read: {error.strerror}") from error


def file_hash(path: Path) -> FileHash:
    """The hash of a file as it is now. Raises StorageError when it cannot be read."""
    size, digest = 0, hashlib.sha256()
    for block in blocks_of(path):
        digest.update(block)
        size += len(block)
    return FileHash(size, digest.hexdigest())


def copy_file(
    source: Path,
    target: Path,
    *,
    expected: str = "",
    mode: int = PRIVATE,
    report: Callable[[int], None] = lambda _bytes: None,
) -> FileHash:
    """Copy a file; returns the hash of what was read. Where that is not `expected`, when given, there is no target.

    The name is durable when its folder is synced. Raises StorageError when the source cannot be read, OSError when the
    target cannot be written.
    """

    def told() -> Iterator[bytes]:
        for block in blocks_of(source):
            yield block
            report(len(block))

    return write_file(target, told(), expected=expected, mode=mode)


def aside(target: Path) -> Path:
    """Where a file is while it is being written."""
    return target.with_name(f".{target.name}.part")


def write_file(target: Path, content: Iterable[bytes], *, expected: str = "", mode: int = PRIVATE) -> FileHash:
    """Write a file aside, sync it, and rename it when it has the SHA-256 `expected`, or none is. Raises OSError."""
    unfinished = aside(target)
    size, digest = 0, hashlib.sha256()
    with open(unfinished, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
        for block in content:
            digest.update(block)
            file.write(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    written = FileHash(size, digest.hexdigest())
    if expected in {"", written.sha256}:
        unfinished.replace(target)
    else:
        unfinished.unlink()
    return written


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it that are missing, durably. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=mode)
    sync_folder(folder.parent)


def sync_names(folder: Path) -> None:
    """Make the names in `folder` durable. Raises OSError."""
    sync_folder(folder)


def sync_tree(folder: Path) -> None:
    """Make the names in `folder`, and in every folder below it, durable. Raises OSError."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
    sync_folder(folder)
