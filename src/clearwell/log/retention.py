"""Keeps files of the log from being removed while somebody reads them.

A generation is the number of the newest compaction that a reader knows. A reader holds a shared lock on the lock file
of its generation; the operating system lets it go when the reader ends, however it ends. Files that a later compaction
replaced go only when no earlier generation is held any more.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class Hold:
    """A reader's shared lock on a generation; let go when it is closed or nobody refers to it any more."""

    def __init__(self, folder: Path, generation: int) -> None:
        """Raises OSError where the folder cannot be written, as on a read-only copy, from which nothing is removed."""
        folder.mkdir(exist_ok=True)
        self._descriptor = os.open(_lock_file(folder, generation), os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Let the generation go. Closing twice is nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        with suppress(AttributeError):  # The lock was never got.
            self.close()


def is_held_before(folder: Path, generation: int) -> bool:
    """Whether a reader holds a generation earlier than `generation`. Removes lock files that nobody holds."""
    if not folder.is_dir():
        return False
    earlier = [path for path in sorted(folder.iterdir()) if path.name < _lock_file(folder, generation).name]
    held = [path for path in earlier if not _removed(path)]
    return bool(held)


def _removed(path: Path) -> bool:
    """Whether nobody held the lock file; then it is gone. Whoever opens it meanwhile looks again for the generation."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _lock_file(folder: Path, generation: int) -> Path:
    return folder / f"generation-{generation:010d}"
