"""Files in the log's folder that no commit names: the rest of a crash. Deletes nothing that was ever whole."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from clearwell.log.reader import file_sha256
from clearwell.log.writer import DIGEST_LETTERS


def names_its_content(path: Path) -> bool:
    """Whether a file is whole and one that `write_segment` wrote, by the hash in its name."""
    match = re.fullmatch(rf"segments?-[0-9-]+-([0-9a-f]{{{DIGEST_LETTERS}}})\.parquet", path.name)
    if match is None:
        return False
    return file_sha256(path).startswith(match[1])


def set_aside(folder: Path, names: Collection[str]) -> list[str]:
    """Move every file of the log's folder but `names` into the folder `leftover` beside it; returns their names.

    Such a file is the rest of a crash before a commit. It is kept for whoever knows better; nothing is deleted but
    files that were never finished.
    """
    moved = []
    kept = folder.parent / "leftover"
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".part"):
            path.unlink(missing_ok=True)
        elif path.name not in names:
            kept.mkdir(exist_ok=True)
            number = sum(1 for item in kept.iterdir() if item.name.startswith(path.name))
            path.replace(kept / f"{path.name}.{number + 1}")
            moved.append(path.name)
    return moved
